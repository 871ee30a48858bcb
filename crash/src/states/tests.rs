//! States of tiny traces, counted and named by hand.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::*;
use crate::trace::{Cache, Ino, Kind, Place};

const FILE: Ino = Ino(2);
const OTHER: Ino = Ino(3);
const DIR: Ino = Ino(4);
const PLENTY: usize = 100_000;

fn at(name: &str) -> Place {
    Place { dir: Ino::ROOT, name: name.into() }
}

fn make(name: &str, node: Ino) -> Op {
    Op::Make { at: at(name), node, kind: Kind::File }
}

fn write(file: Ino, offset: u64, data: impl AsRef<[u8]>) -> Op {
    Op::Write { file, offset, data: Bytes::copy_from_slice(data.as_ref()) }
}

fn sync(node: Ino) -> Op {
    Op::Sync { node }
}

fn did(text: &str) -> Op {
    Op::Mark(Mark::Did(Bytes::copy_from_slice(text.as_bytes())))
}

/// An image with this one file, which is on the disk.
fn holding(name: &str, data: &[u8]) -> Image {
    let mut image = Image::default();
    image.make(FILE, Kind::File);
    image.set_name(&at(name), Some(FILE));
    image.content_mut(FILE).unwrap().write(0, data);
    image
}

fn bytes(image: &Image, node: Ino) -> Vec<u8> {
    let content = image.content(node).unwrap();
    let mut out = vec![0; usize::try_from(content.len()).unwrap()];
    content.read(0, &mut out);
    out
}

/// Files and their bytes, as text; directories end in a slash.
fn text(image: &Image) -> String {
    let mut words = Vec::new();
    describe(image, Ino::ROOT, "", &mut words);
    words.join(" ")
}

fn describe(image: &Image, dir: Ino, prefix: &str, words: &mut Vec<String>) {
    for (name, &node) in image.names(dir).unwrap() {
        match image.kind(node).unwrap() {
            Kind::Dir => {
                words.push(format!("{prefix}{name}/"));
                describe(image, node, &format!("{prefix}{name}/"), words);
            }
            Kind::File => {
                let data = bytes(image, node).escape_ascii().to_string();
                words.push(format!("{prefix}{name}={data}"));
            }
        }
    }
}

fn plan(points: Points) -> Plan {
    Plan { seed: 7, budget: PLENTY, points }
}

/// What a power cut after the last call may leave.
fn last(base: &Image, ops: &[Op], model: Model) -> BTreeSet<String> {
    let trace: Trace = ops.iter().cloned().collect();
    let plan = plan(Points::Only(trace.len()));
    let found: Vec<_> = states(&trace, base, model, &plan).map(|one| text(&one.image)).collect();
    let set: BTreeSet<_> = found.iter().cloned().collect();
    assert_eq!(set.len(), found.len(), "a state came twice");
    set
}

fn set(states: &[&str]) -> BTreeSet<String> {
    states.iter().map(ToString::to_string).collect()
}

#[test]
fn a_name_without_a_sync_of_its_directory_may_be_gone_only_where_nothing_orders_it() {
    let ops = [make("a", FILE), write(FILE, 0, "x"), sync(FILE)];
    let empty = Image::default();
    assert_eq!(last(&empty, &ops, Model::Strict), set(&["", "a=x"]));
    assert_eq!(last(&empty, &ops, Model::Journal), set(&["a=x"]));
    let synced = [ops.as_slice(), &[sync(Ino::ROOT)]].concat();
    assert_eq!(last(&empty, &synced, Model::Strict), set(&["a=x"]));
}

#[test]
fn a_rename_that_is_not_synced_is_done_or_undone_as_a_whole() {
    let base = holding("a", b"old");
    let rename = Op::Rename { from: at("b"), to: at("a"), node: OTHER };
    let new = [make("b", OTHER), write(OTHER, 0, "new"), sync(OTHER), rename];
    // Without an order the rename may be there and the first name not.
    assert_eq!(last(&base, &new, Model::Strict), set(&["a=old", "a=old b=new", "a=new"]));
    assert_eq!(last(&base, &new, Model::Journal), set(&["a=old b=new", "a=new"]));
    for model in Model::OF_FILES {
        let synced = [new.as_slice(), &[sync(Ino::ROOT)]].concat();
        assert_eq!(last(&base, &synced, model), set(&["a=new"]));
    }
}

#[test]
fn a_rename_overtakes_the_bytes_that_nobody_synced() {
    let base = holding("a", b"old");
    let rename = Op::Rename { from: at("b"), to: at("a"), node: OTHER };
    let ops = [make("b", OTHER), write(OTHER, 0, "new"), rename, sync(Ino::ROOT)];
    assert_eq!(last(&base, &ops, Model::Strict), set(&["a=", "a=new"]));
    assert_eq!(last(&base, &ops, Model::Journal), set(&[r"a=\x00\x00\x00", "a=new"]));
}

#[test]
fn a_rename_between_directories_is_two_steps_where_each_has_its_own_sync() {
    let mut base = holding("a", b"x");
    base.make(DIR, Kind::Dir);
    base.set_name(&at("d"), Some(DIR));
    let to = Place { dir: DIR, name: "b".into() };
    let rename = Op::Rename { from: at("a"), to, node: FILE };
    let strict = last(&base, std::slice::from_ref(&rename), Model::Strict);
    assert_eq!(strict, set(&["a=x d/", "d/ d/b=x", "a=x d/ d/b=x", "d/"]));
    let journal = last(&base, std::slice::from_ref(&rename), Model::Journal);
    assert_eq!(journal, set(&["a=x d/", "d/ d/b=x"]));
    let synced = last(&base, &[rename, sync(DIR)], Model::Strict);
    assert_eq!(synced, set(&["a=x d/ d/b=x", "d/ d/b=x"]));
}

#[test]
fn a_removal_that_is_not_synced_may_be_undone() {
    let base = holding("a", b"x");
    for model in Model::OF_FILES {
        let removed = [Op::Remove { at: at("a") }];
        assert_eq!(last(&base, &removed, model), set(&["", "a=x"]));
        let synced = [Op::Remove { at: at("a") }, sync(Ino::ROOT)];
        assert_eq!(last(&base, &synced, model), set(&[""]));
    }
}

#[test]
fn a_journal_keeps_names_in_order_and_nothing_else_does() {
    let ops = [make("a", FILE), make("b", OTHER)];
    let empty = Image::default();
    assert_eq!(last(&empty, &ops, Model::Journal), set(&["", "a=", "a= b="]));
    assert_eq!(last(&empty, &ops, Model::Strict), set(&["", "a=", "b=", "a= b="]));
}

#[test]
fn any_sync_writes_a_journal_out() {
    let mut base = holding("a", b"x");
    base.make(OTHER, Kind::File);
    base.set_name(&at("b"), Some(OTHER));
    let ops = [write(OTHER, 0, "yy"), make("c", Ino(9)), sync(FILE)];
    // Length and name are there, bytes are not.
    assert_eq!(last(&base, &ops, Model::Journal), set(&[r"a=x b=\x00\x00 c=", "a=x b=yy c="]));
    let strict = set(&["a=x b=", "a=x b=yy", "a=x b= c=", "a=x b=yy c="]);
    assert_eq!(last(&base, &ops, Model::Strict), strict);
}

#[test]
fn up_to_six_calls_give_every_set_of_them() {
    let base = holding("a", &[b'.'; 6 * 512]);
    for count in 1..=6 {
        let ops: Vec<Op> = (0..count).map(|at| write(FILE, at * 512, [b'x'; 512])).collect();
        for model in Model::OF_FILES {
            assert_eq!(last(&base, &ops, model).len(), 1 << count, "{model}");
        }
    }
    let names = ["a", "b", "c", "d", "e", "f"];
    let ops: Vec<Op> = names.into_iter().zip(10..).map(|(name, no)| make(name, Ino(no))).collect();
    assert_eq!(last(&Image::default(), &ops, Model::Strict).len(), 64);
    assert_eq!(last(&Image::default(), &ops, Model::Journal).len(), 7);
    // Two lengths, one of them with bytes, and a write inside: 3 journals times 4 sets, of which
    // the sets without the last length do not tell the last bytes apart.
    let mixed = [write(FILE, 0, "x"), write(FILE, 3072, "y"), Op::SetLen { file: FILE, len: 4000 }];
    assert_eq!(last(&base, &mixed, Model::Journal).len(), 2 + 4 + 4);
    assert_eq!(last(&base, &mixed, Model::Strict).len(), 2 * 2 * 2);
}

#[test]
fn an_overwritten_page_is_torn_at_sectors_only() {
    let base = holding("a", &[b'o'; 4096]);
    let ops = [write(FILE, 0, [b'n'; 4096])];
    let trace: Trace = ops.into_iter().collect();
    for model in Model::OF_FILES {
        let mut fronts = BTreeSet::new();
        for state in states(&trace, &base, model, &plan(Points::Only(1))) {
            let page = bytes(&state.image, FILE);
            assert_eq!(page.len(), 4096);
            for sector in page.chunks(512) {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "torn inside a sector");
            }
            if let Choice::Prefix { sectors, .. } = state.choice {
                assert!(page[..sectors * 512].iter().all(|byte| *byte == b'n'));
                assert!(page[sectors * 512..].iter().all(|byte| *byte == b'o'));
                fronts.insert(sectors);
            }
        }
        assert!(fronts.contains(&1) && fronts.contains(&7), "{fronts:?}");
    }
}

#[test]
fn a_file_that_grows_by_a_torn_write_has_its_length_and_zeros_or_is_short() {
    let ops = [write(FILE, 0, [b'x'; 2048])];
    let trace: Trace = ops.into_iter().collect();
    let base = holding("a", b"");
    let found = |model| {
        let states = states(&trace, &base, model, &plan(Points::Only(1)));
        states.map(|state| bytes(&state.image, FILE)).collect::<BTreeSet<_>>()
    };
    let journal = found(Model::Journal);
    let with_hole =
        |data: &Vec<u8>| data.len() == 2048 && data.contains(&0) && data.contains(&b'x');
    assert!(journal.iter().any(with_hole));
    assert!(journal.contains(&vec![b'x'; 512]) && journal.contains(&vec![]));
    assert!(journal.contains(&vec![0; 2048]) && journal.contains(&vec![b'x'; 2048]));
    let strict = found(Model::Strict);
    assert!(strict.contains(&vec![b'x'; 512]) && !strict.contains(&vec![0; 2048]));
}

#[test]
fn a_cache_holds_one_content_of_a_sector_at_a_time() {
    let base = holding("a", b"....");
    let ops = [write(FILE, 0, "1"), write(FILE, 1, "2")];
    assert_eq!(last(&base, &ops, Model::Journal), set(&["a=....", "a=1...", "a=12.."]));
    let any = set(&["a=....", "a=1...", "a=.2..", "a=12.."]);
    assert_eq!(last(&base, &ops, Model::Strict), any);
}

#[test]
fn bytes_behind_a_cut_that_is_durable_do_not_come_back() {
    let mut base = holding("a", &[]);
    base.make(OTHER, Kind::File);
    base.set_name(&at("b"), Some(OTHER));
    let set_len = |len| Op::SetLen { file: FILE, len };
    let ops = [write(FILE, 0, "xx"), set_len(1), set_len(2), sync(OTHER)];
    let found = last(&base, &ops, Model::Journal);
    assert_eq!(found, set(&[r"a=\x00\x00 b=", r"a=x\x00 b="]));
    let synced = [ops.as_slice(), &[sync(FILE)]].concat();
    assert_eq!(last(&base, &synced, Model::Journal), set(&[r"a=x\x00 b="]));
}

#[test]
fn bytes_of_a_failed_sync_are_never_promised_again_in_the_same_file() {
    let base = holding("a", b"old");
    for model in Model::OF_FILES {
        let fail = |cache| Op::SyncFailed { node: FILE, cache };
        let kept = [write(FILE, 0, "new"), fail(Cache::Kept), sync(FILE)];
        assert_eq!(last(&base, &kept, model), set(&["a=old", "a=new"]));
        let again = [kept.as_slice(), &[write(FILE, 1, "EW"), sync(FILE)]].concat();
        let beside = [again.as_slice(), &[write(FILE, 3, "er"), sync(FILE)]].concat();
        // A cache holds both, a disk without one may get one of them.
        let one = if model == Model::Strict { &["a=oEW"][..] } else { &[] };
        let both = [&["a=old", "a=new", "a=nEW"], one].concat();
        assert_eq!(last(&base, &again, model), set(&both));
        let longer = both.iter().map(|text| format!("{text}er")).collect();
        assert_eq!(last(&base, &beside, model), longer);
        let reverted = [write(FILE, 0, "new"), fail(Cache::Reverted), sync(FILE)];
        assert_eq!(last(&base, &reverted, model), set(&["a=old"]));
    }
}

#[test]
fn each_acknowledgement_is_held_against_the_same_image_again() {
    let base = holding("a", b"old");
    let will = Op::Mark(Mark::Will(Bytes::new()));
    let ops = [did("0"), will, write(FILE, 0, "new"), sync(FILE), did("1"), did("2")];
    let trace: Trace = ops.into_iter().collect();
    let found = |model| {
        let states = states(&trace, &base, model, &plan(Points::All));
        states.map(|one| (one.point, one.acked, text(&one.image))).collect::<Vec<_>>()
    };
    let expected =
        [(0, 0, "a=old"), (1, 1, "a=old"), (3, 1, "a=new"), (5, 2, "a=new"), (6, 3, "a=new")];
    let expected = expected.map(|(point, acked, text)| (point, acked, text.to_owned()));
    for model in Model::OF_FILES {
        assert_eq!(found(model), expected);
    }
}

/// A trace with many pending calls of every kind.
fn long() -> (Trace, Image) {
    let mut ops = vec![make("a", FILE), sync(Ino::ROOT)];
    for round in 0..12_u64 {
        ops.push(Op::Mark(Mark::Will(Bytes::new())));
        ops.push(write(FILE, round * 700, vec![u8::try_from(round).unwrap() + 1; 3000]));
        ops.push(make(&format!("f{round}"), Ino(20 + round)));
        ops.push(did(&round.to_string()));
        if round % 5 == 4 {
            ops.push(sync(FILE));
        }
    }
    (ops.into_iter().collect(), Image::default())
}

#[test]
fn a_plan_draws_the_same_again_and_another_seed_draws_others() {
    let (trace, base) = long();
    for model in Model::OF_FILES {
        let draw = |seed| {
            let plan = Plan { seed, budget: 500, points: Points::All };
            let states = states(&trace, &base, model, &plan);
            states.map(|one| (one.point, one.choice, one.digest)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}

#[test]
fn a_budget_is_kept_and_spread_over_the_points() {
    let (trace, base) = long();
    for budget in [0, 1, 10, 200] {
        let plan = Plan { seed: 3, budget, points: Points::All };
        let found: Vec<_> = states(&trace, &base, Model::Journal, &plan).collect();
        assert!(found.len() <= budget);
        assert!(found.len() * 2 >= budget, "{} of {budget}", found.len());
        if budget == 200 {
            let points: BTreeSet<_> = found.iter().map(|state| state.point).collect();
            assert!(points.len() > 25 && points.contains(&trace.len()), "{points:?}");
        }
    }
}

#[test]
fn points_can_be_those_behind_one_of_them() {
    let (trace, base) = long();
    let found = |points| {
        let states = states(&trace, &base, Model::Strict, &plan(points));
        states.map(|state| state.point).collect::<BTreeSet<_>>()
    };
    let all = found(Points::All);
    assert_eq!(found(Points::From(20)), all.into_iter().filter(|point| *point >= 20).collect());
    assert_eq!(found(Points::Only(20)), BTreeSet::from([20]));
    let will = [Op::Mark(Mark::Will(Bytes::new()))].into_iter().collect();
    let behind = |points| states(&will, &base, Model::Strict, &plan(points)).count();
    assert_eq!([Points::All, Points::Only(1), Points::From(1)].map(behind), [1, 1, 1]);
}

#[test]
fn a_point_and_a_choice_give_the_state_again_and_read_back_as_text() {
    let (trace, base) = long();
    for model in Model::OF_FILES {
        assert_eq!(model.to_string().parse::<Model>().unwrap(), model);
        let plan = Plan { seed: 5, budget: 2000, points: Points::All };
        let mut kinds = BTreeSet::new();
        for state in states(&trace, &base, model, &plan) {
            let text = state.choice.to_string();
            let choice: Choice = text.parse().unwrap();
            assert_eq!(choice, state.choice);
            let again = state_at(&trace, &base, model, state.point, choice).unwrap();
            assert_eq!((again.digest, again.acked), (state.digest, state.acked), "{text}");
            kinds.insert(text.split('/').next().unwrap().to_owned());
        }
        let all = ["but", "drop", "keep", "only", "prefix", "random", "subset"];
        assert!(all.iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
        assert_eq!(kinds.contains("cut"), model == Model::Journal);
    }
    for wrong in ["", "drop/1", "prefix/1", "subset/x/1", "random/1/2"] {
        assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
    }
}

#[test]
fn all_that_is_pending_makes_what_reads_see() {
    let (trace, base) = long();
    let mut live = base.clone();
    for op in trace.ops() {
        match op {
            Op::Make { at, node, kind } => {
                live.make(*node, *kind);
                live.set_name(at, Some(*node));
            }
            Op::Write { file, offset, data } => {
                live.content_mut(*file).unwrap().write(*offset, data);
            }
            _ => {}
        }
    }
    for model in Model::OF_FILES {
        let kept = state_at(&trace, &base, model, trace.len(), Choice::KeepAll).unwrap();
        assert_eq!(kept.digest, live.digest());
    }
}
