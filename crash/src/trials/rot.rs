//! Rot: one bit is flipped, at rest or on a read. What a store then shows is what it held, or an
//! error.

use kvlogdb_conformance::Random;

use crate::check::Depth;
use crate::failure::Checked;
use crate::faults::{Call, Effect, Fault};
use crate::history::Story;
use crate::ledger::Bounds;
use crate::report::{Tally, of_image, of_run};
use crate::run::{Disk, ENOUGH, Examiner, Medium, Reader, record};
use crate::spec::Spec;
use crate::trace::Ino;
use crate::trials::faults::Strides;
use crate::trials::{begin, nobody};
use crate::verdict::{Finding, Verdict};
use crate::{FaultPlan, Image};

/// How many bits are flipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rot {
    pub(crate) medium: Medium,
    pub(crate) spec: Spec,
    /// How many at rest, one in each of so many copies.
    pub(crate) at_rest: usize,
    /// Which reads bring one.
    pub(crate) reads: Option<Strides>,
}

impl Rot {
    /// Runs it.
    pub(crate) fn run(&self, examiner: &mut Examiner) -> Checked<Tally> {
        let mut tally = Tally::default();
        let (setup, base) = begin(self.medium, &self.spec)?;
        let recording = record(&setup, &base, FaultPlan::default())?;
        if let Some(failure) = recording.failure {
            tally.failures.push(of_run(&setup.story, Finding::NotChecked, failure));
            return Ok(tally);
        }
        let recorded = recording.recorded;
        let positions = nobody(&self.spec);
        let mut reader = Reader::new(&recorded.trace, &setup.story, &positions);
        reader.read_to(recorded.trace.len());
        let (story, bounds) = (reader.ledger.story(), reader.ledger.bounds());
        self.rot_at_rest(&recorded.end, story, bounds, examiner, &mut tally)?;
        if let Some(strides) = self.reads {
            rot_on_reads(strides, &recorded.end, story, bounds, &mut tally)?;
        }
        Ok(tally)
    }

    fn rot_at_rest(
        &self,
        whole: &Image,
        story: &Story,
        bounds: &Bounds,
        examiner: &mut Examiner,
        tally: &mut Tally,
    ) -> Checked {
        let mut random = Random::new(self.spec.seed);
        for _ in 0..self.at_rest {
            let mut image = whole.clone();
            let Some(place) = flip(&mut image, &mut random) else { continue };
            let verdict = examiner.examine(story, &image, bounds, Depth::Rotten)?;
            let verdict = count(verdict, tally);
            let failed = of_image(&image, story, bounds, &verdict, &format!("flip={place}"));
            tally.failures.extend(failed);
            if tally.failures.len() >= ENOUGH {
                break;
            }
        }
        Ok(())
    }
}

/// Counts it. A library that panics over its own damaged pages says so loudly enough: that is not
/// what this is about, and is counted for itself.
fn count(verdict: Verdict, tally: &mut Tally) -> Verdict {
    tally.flips += 1;
    match verdict {
        Verdict::Failed(Finding::Panicked, text) => {
            tally.panicked += 1;
            Verdict::Refused(text)
        }
        other => {
            tally.refused += u64::from(matches!(other, Verdict::Refused(_)));
            other
        }
    }
}

/// Flips a bit of what was written, of any file with the same likelihood.
fn flip(image: &mut Image, random: &mut Random) -> Option<String> {
    let files = image.files();
    let files: Vec<&(String, Ino)> = files
        .iter()
        .filter(|(_, file)| image.content(*file).is_some_and(|content| !content.is_empty()))
        .collect();
    if files.is_empty() {
        return None;
    }
    let (name, file) = *random.pick(&files);
    let runs = image.content(*file)?.runs();
    let bytes: u64 = runs.iter().map(|(_, run)| run.len() as u64).sum();
    let mut at = random.below(bytes.max(1));
    let mut offset = None;
    for (start, run) in &runs {
        if at < run.len() as u64 {
            offset = Some(start + at);
            break;
        }
        at -= run.len() as u64;
    }
    let bit = u8::try_from(random.below(8)).unwrap_or_default();
    let offset = offset?;
    image.flip_bit(*file, offset, bit).then(|| format!("{name}/{offset}/{bit}"))
}

/// Opens and reads the whole store, with a bit flipped in the n-th read of its files.
fn rot_on_reads(
    strides: Strides,
    whole: &Image,
    story: &Story,
    bounds: &Bounds,
    tally: &mut Tally,
) -> Checked {
    for nth in strides.numbers() {
        let (verdict, struck) = look_with_flip(nth, whole, story, bounds)?;
        if !struck {
            if !matches!(verdict, Verdict::Sound(_)) {
                let text = format!("without a fault: {verdict}");
                tally.failures.push(of_run(story, Finding::NotChecked, text));
            }
            break;
        }
        let verdict = count(verdict, tally);
        tally.failures.extend(of_image(whole, story, bounds, &verdict, &format!("read={nth}")));
        if tally.failures.len() >= ENOUGH {
            break;
        }
    }
    Ok(())
}

/// What is seen with a bit flipped in the n-th read, and whether there was one.
#[cfg(target_os = "linux")]
pub(crate) fn look_with_flip(
    nth: u64,
    whole: &Image,
    story: &Story,
    bounds: &Bounds,
) -> Checked<(Verdict, bool)> {
    let effect = Effect::FlipBit(Random::new(nth).next());
    let fault = Some(Fault { call: Call::Read, nth, effect });
    let disk = Disk::record(Medium::Fuse, whole, FaultPlan { fault, ..FaultPlan::default() })?;
    let verdict = disk.look(story, bounds, Depth::Rotten)?;
    Ok((verdict, disk.recorded().struck > 0))
}

/// Nothing reads through a file system of ours here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn look_with_flip(_: u64, _: &Image, _: &Story, _: &Bounds) -> Checked<(Verdict, bool)> {
    Err("reads are only watched on Linux".into())
}
