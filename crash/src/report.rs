//! What a run counted, and what it found.

use std::env;
use std::fmt;
use std::path::PathBuf;

use crate::history::Story;
use crate::ledger::Bounds;
use crate::record::DEVICE;
use crate::record::memory::FILE;
use crate::run::Medium;
use crate::verdict::{Finding, Verdict};
use crate::{CrashState, Image, Model, Trace};

/// How many calls before a cut a report shows.
const SHOWN_CALLS: usize = 5;
/// The directory beside the program in which failing images are kept.
const KEPT: &str = "crash-failures";

/// One thing that must not be.
#[derive(Debug, Clone)]
pub struct Failed {
    /// What it is.
    pub finding: Finding,
    /// The line that reproduces it.
    pub line: String,
    /// What was found, in words.
    pub text: String,
    /// The last calls before it.
    pub calls: Vec<String>,
}

impl Failed {
    /// With the calls that were the last before this point.
    pub(crate) fn after(mut self, trace: &Trace, point: usize) -> Self {
        let calls = trace.before(point, SHOWN_CALLS);
        self.calls = calls.iter().map(ToString::to_string).collect();
        self
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { finding, line, text, calls } = self;
        writeln!(f, "{finding}: {text}")?;
        calls.iter().try_for_each(|call| writeln!(f, "    {call}"))?;
        write!(f, "  cargo run --release -p kvlogdb-crash -- replay \"{line}\"")
    }
}

/// What a run counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How many states were drawn, those that had come before among them.
    pub drawn: u64,
    /// How many different states were opened and compared.
    pub states: u64,
    /// How many of them were refused for a torn last batch, and kept all with its repair.
    pub torn: u64,
    /// How many of them were cut out of a recovery, or of the work behind one.
    pub double: u64,
    /// How many of them had been served before the cut.
    pub served: u64,
    /// How many processes were killed.
    pub kills: u64,
    /// How many runs a fault has struck.
    pub faults: u64,
    /// How many stores had a bit flipped, at rest or on a read.
    pub flips: u64,
    /// How many of those were refused, as a whole or in part.
    pub refused: u64,
    /// How many of those ended in a panic.
    pub panicked: u64,
    /// What must not be.
    pub failures: Vec<Failed>,
}

impl Tally {
    /// Adds what another run counted.
    pub fn absorb(&mut self, other: Self) {
        self.drawn += other.drawn;
        self.states += other.states;
        self.torn += other.torn;
        self.double += other.double;
        self.served += other.served;
        self.kills += other.kills;
        self.faults += other.faults;
        self.flips += other.flips;
        self.refused += other.refused;
        self.panicked += other.panicked;
        self.failures.extend(other.failures);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { drawn, states, torn, double, served, kills, faults, flips, .. } = self;
        write!(
            f,
            "states={drawn} distinct={states} double={double} served={served} torn={torn} \
             kills={kills} faults={faults} flips={flips} refused={} panicked={} failures={}",
            self.refused,
            self.panicked,
            self.failures.len()
        )
    }
}

/// Where a state comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) model: Model,
    pub(crate) state: &'a CrashState,
}

/// The failure of a crash state, whose image is kept.
pub(crate) fn of_state(
    origin: Origin<'_>,
    story: &Story,
    bounds: &Bounds,
    verdict: &Verdict,
) -> Option<Failed> {
    let Origin { trace, model, state } = origin;
    let what = format!("model={model} point={} choice={}", state.point, state.choice);
    let failed = of_image(&state.image, story, bounds, verdict, &what)?;
    Some(failed.after(trace, state.point))
}

/// The failure of an image, which is kept; `None` for what is no failure.
pub(crate) fn of_image(
    image: &Image,
    story: &Story,
    bounds: &Bounds,
    verdict: &Verdict,
    what: &str,
) -> Option<Failed> {
    let Verdict::Failed(finding, text) = verdict else { return None };
    let kept = keep(image).map_or_else(|| "-".to_owned(), |path| path.display().to_string());
    Some(Failed {
        finding: *finding,
        line: format!("{story} {bounds} {what} medium={} kept={kept}", medium(image)),
        text: text.clone(),
        calls: Vec::new(),
    })
}

/// What the line of a failure was recorded on.
pub(crate) fn medium_of(line: &str) -> Medium {
    let media = [Medium::Memory, Medium::Block];
    let said = |medium: &Medium| line.contains(&format!("medium={medium}"));
    media.into_iter().find(said).unwrap_or(Medium::Fuse)
}

/// What an image was recorded on.
pub(crate) fn medium(image: &Image) -> Medium {
    let has_file = |name| image.find(name).is_some_and(|found| image.content(found).is_some());
    if has_file(FILE) {
        Medium::Memory
    } else if has_file(DEVICE) {
        Medium::Block
    } else {
        Medium::Fuse
    }
}

/// The failure of a run that left no image, with the line that has it run again.
pub(crate) fn of_run(line: impl fmt::Display, finding: Finding, text: impl fmt::Display) -> Failed {
    let (line, text) = (line.to_string(), text.to_string());
    Failed { finding, line, text, calls: Vec::new() }
}

/// Writes an image beside this program, under its digest.
fn keep(image: &Image) -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let dir = program.parent()?.join(KEPT).join(format!("{:032x}", image.digest()));
    if !dir.exists() {
        std::fs::create_dir_all(&dir).ok()?;
        image.write_to(&dir).ok()?;
    }
    Some(dir)
}
