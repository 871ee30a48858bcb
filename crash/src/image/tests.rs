//! Images beside plain vectors of bytes.

use kvlogdb_conformance::Random;

use super::*;

fn holding(content: Content) -> Image {
    let mut image = Image::default();
    let file = image.fresh();
    image.make(file, Kind::File);
    *image.content_mut(file).unwrap() = content;
    image.set_name(&Place { dir: Ino::ROOT, name: "file".into() }, Some(file));
    image
}

fn bytes(content: &Content) -> Vec<u8> {
    let mut out = vec![0xee; usize::try_from(content.len()).unwrap() + 10];
    let count = content.read(0, &mut out);
    out.truncate(count);
    out
}

#[test]
fn contents_are_what_a_vector_of_bytes_is() {
    for seed in 0..8 {
        let mut random = Random::new(seed);
        let (mut content, mut plain) = (Content::default(), Vec::new());
        for _ in 0..300 {
            let at = usize::try_from(random.below(600_000)).unwrap();
            if random.below(4) == 0 {
                content.set_len(at as u64);
                plain.resize(at, 0);
            } else {
                let len = usize::try_from(random.below(9000)).unwrap();
                let [byte, ..] = (random.next() % 3).to_le_bytes();
                content.write(at as u64, &vec![byte; len]);
                if len > 0 {
                    plain.resize(plain.len().max(at + len), 0);
                    plain[at..at + len].fill(byte);
                }
            }
        }
        assert_eq!(bytes(&content), plain, "seed {seed}");
        let mut fresh = Content::default();
        fresh.write(0, &plain);
        fresh.set_len(plain.len() as u64);
        assert_eq!(content.digest(), fresh.digest(), "seed {seed}: the way does not matter");
        let pages = plain.chunks(PAGE_BYTES).filter(|page| page.iter().any(|byte| *byte != 0));
        assert_eq!(content.allocated_bytes(), (pages.count() * PAGE_BYTES) as u64);
        let mut joined = vec![0; plain.len()];
        for (at, run) in content.runs() {
            let at = usize::try_from(at).unwrap();
            joined[at..at + run.len()].copy_from_slice(&run);
        }
        assert_eq!(joined, plain, "seed {seed}");
    }
}

#[test]
fn a_change_of_a_clone_leaves_the_original_alone() {
    let mut content = Content::default();
    content.write(100, b"text");
    let image = holding(content);
    let digest = image.digest();
    let mut clone = image.clone();
    let file = clone.find("file").unwrap();
    clone.content_mut(file).unwrap().write(1 << 20, b"more");
    let other = clone.fresh();
    clone.make(other, Kind::File);
    clone.set_name(&Place { dir: Ino::ROOT, name: "other".into() }, Some(other));
    assert_eq!(image.digest(), digest);
    assert_eq!(image.files().len(), 1);
}

#[test]
fn digests_tell_names_lengths_and_bytes_apart() {
    let base = holding(Content::default());
    let file = base.find("file").unwrap();
    let with = |change: &dyn Fn(&mut Image)| {
        let mut image = base.clone();
        change(&mut image);
        image.digest()
    };
    let place = |name: &str| Place { dir: Ino::ROOT, name: name.into() };
    let digests = [
        base.digest(),
        with(&|image| image.content_mut(file).unwrap().set_len(1)),
        with(&|image| image.content_mut(file).unwrap().set_len(5000)),
        with(&|image| image.content_mut(file).unwrap().write(0, b"x")),
        with(&|image| image.content_mut(file).unwrap().write(4096, b"x")),
        with(&|image| {
            // Both pages of the one below, each in the other's place.
            image.content_mut(file).unwrap().write(0, &[2; 1]);
            image.content_mut(file).unwrap().write(4096, &[1; 4096]);
        }),
        with(&|image| {
            image.content_mut(file).unwrap().write(0, &[1; 4096]);
            image.content_mut(file).unwrap().write(4096, &[2; 1]);
            image.content_mut(file).unwrap().set_len(8192);
        }),
        with(&|image| image.set_name(&place("file"), None)),
        with(&|image| image.set_name(&place("other"), Some(file))),
        with(&|image| {
            image.set_name(&place("file"), None);
            image.set_name(&place("elif"), Some(file));
        }),
        with(&|image| {
            let dir = image.fresh();
            image.make(dir, Kind::Dir);
            image.set_name(&place("dir"), Some(dir));
        }),
    ];
    let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), digests.len());
    assert_eq!(with(&|image| image.make(Ino(77), Kind::File)), base.digest(), "cannot be reached");
}

#[test]
fn one_bit_is_flipped_and_flipped_back() {
    let mut content = Content::default();
    content.write(0, b"text");
    let mut image = holding(content);
    let (file, digest) = (image.find("file").unwrap(), image.digest());
    assert!(image.flip_bit(file, 1, 0));
    assert_eq!(bytes(image.content(file).unwrap()), b"tdxt");
    assert!(image.flip_bit(file, 1, 0));
    assert_eq!(image.digest(), digest);
    assert!(!image.flip_bit(file, 4, 0), "there is no such byte");
}

#[test]
fn what_cannot_be_reached_is_forgotten() {
    let mut image = holding(Content::default());
    let file = image.find("file").unwrap();
    image.make(Ino(50), Kind::File);
    let digest = image.digest();
    image.prune();
    assert_eq!((image.kind(Ino(50)), image.kind(file)), (None, Some(Kind::File)));
    assert_eq!(image.digest(), digest);
    assert!(image.fresh() > Ino(50), "numbers are never used twice");
}
