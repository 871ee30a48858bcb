//! What a run is about, as one line of words that a person can copy.

use std::fmt;
use std::str::FromStr;

use kvlogdb_log::FlushPolicy;

use crate::failure::{Checked, Failure};

/// How many writers a run may have; a mark has four bits for them.
pub const MAX_WRITERS: u64 = 8;
/// How long commits collect under [`Policy::Batch`].
const BATCH_INTERVAL: std::time::Duration = std::time::Duration::from_millis(3);
const BATCH_ENTRIES: usize = 16;
/// More than any run keeps in memory.
const MEMORY_BYTES: usize = 1 << 30;

/// Declares an enum whose variants are words of a line.
macro_rules! words {
    ($(#[$of:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word for it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl FromStr for $name {
            type Err = Failure;

            fn from_str(word: &str) -> Checked<Self> {
                let found = Self::ALL.iter().find(|one| one.word() == word);
                found.copied().ok_or_else(|| {
                    Failure::from(format!("{} has no {word:?}", stringify!($name)))
                })
            }
        }
    };
}

words! {
    /// What is opened, and how.
    Engine {
        /// redb with its defaults.
        Redb = "redb",
        /// redb that syncs twice, so that it need not repair.
        RedbQuick = "redb-quick",
        /// fjall with its defaults.
        Fjall = "fjall",
        /// fjall with memtables so small that tables are written and merged all the time.
        FjallSmall = "fjall-small",
        /// sled with its defaults.
        Sled = "sled",
        /// The library redb as its documentation shows it, without any of this project.
        BareRedb = "bare-redb",
        /// The library fjall by itself.
        BareFjall = "bare-fjall",
        /// The library sled by itself.
        BareSled = "bare-sled",
    }
}

words! {
    /// What the commands of a run are like.
    Shape {
        /// Entries of 40 to 200 bytes, votes and commits; no tail is replaced.
        Append = "append",
        /// Entries of up to 2 KiB, replaced tails, purges, snapshots, replicas removed.
        Conflict = "conflict",
        /// Entries of 20 to 60 KiB.
        Large = "large",
        /// Small entries in a dozen replicas, several in one batch.
        Many = "many",
        /// Whatever a log accepts, close to its edges.
        Edges = "edges",
        /// A few entries close to the limit.
        Limit = "limit",
        /// Logs that grow by hundreds of entries and lose most of them at once.
        Purge = "purge",
    }
}

words! {
    /// How long a commit may collect.
    Policy {
        /// Not at all.
        Immediate = "immediate",
        /// By the time that a sync takes.
        Adaptive = "adaptive",
        /// For a number of entries, or for some milliseconds.
        Batch = "batch",
    }
}

words! {
    /// What durability the commands ask for, and how.
    Asks {
        /// Synced, each waiting for its end.
        Synced = "synced",
        /// Mostly Buffered, a third Synced.
        Mixed = "mixed",
        /// Accepted in order, and told by a callback when they are durable.
        Callback = "callback",
    }
}

words! {
    /// Whether writes wait for the disk, and what is in memory.
    Strategy {
        /// They wait where they ask to be synced; memory holds what was read or written last.
        Disk = "disk",
        /// They do not, and memory holds every log from its snapshot on.
        Mem = "mem",
    }
}

words! {
    /// How often the sidecar is written.
    Marking {
        /// With every commit.
        Always = "always",
        /// Once a second.
        Seldom = "seldom",
    }
}

words! {
    /// What a layer below the log does wrong on purpose.
    Lie {
        /// Nothing.
        None = "none",
        /// A Synced write returns before its sync, which comes with the next call.
        AcksBeforeCommit = "acks-before-commit",
        /// Every seventh Synced write is written without a sync.
        SkipsEverySeventhSync = "skips-every-seventh-sync",
        /// Removals and puts of one write go in two.
        TruncatesAndAppendsInTwo = "truncates-and-appends-in-two",
        /// The hard state of a write goes in a write of its own, before the rest.
        HardStateByItself = "hard-state-by-itself",
        /// A boundary is written with the next write, and the entries go at once.
        BoundaryAfterDeletes = "boundary-after-deletes",
        /// Two values of one write change places.
        SwapsValues = "swaps-values",
        /// A failed write is written once more through a new handle, and called a success.
        RetriesAfterFailure = "retries-after-failure",
        /// What no sync has covered when the store is closed is gone.
        DropsTheLastAtClose = "drops-the-last-at-close",
        /// A batch of two replicas goes in two writes.
        SplitsReplicas = "splits-replicas",
    }
}

impl Engine {
    /// The name under which a store records it; `None` for a bare library.
    pub fn kind(self) -> Option<kvlogdb::EngineKind> {
        match self {
            Self::Redb | Self::RedbQuick => Some(kvlogdb::EngineKind::Redb),
            Self::Fjall | Self::FjallSmall => Some(kvlogdb::EngineKind::Fjall),
            Self::Sled => Some(kvlogdb::EngineKind::Sled),
            Self::BareRedb | Self::BareFjall | Self::BareSled => None,
        }
    }
}

impl Policy {
    /// The log's own setting.
    pub fn flush(self) -> FlushPolicy {
        match self {
            Self::Immediate => FlushPolicy::Immediate,
            Self::Adaptive => FlushPolicy::Adaptive,
            Self::Batch => FlushPolicy::Batch { entries: BATCH_ENTRIES, interval: BATCH_INTERVAL },
        }
    }
}

impl Strategy {
    /// The log's own setting.
    pub fn setting(self) -> kvlogdb::Strategy {
        match self {
            Self::Disk => kvlogdb::Strategy::DiskFirst,
            Self::Mem => kvlogdb::Strategy::MemFirst { memory_bytes: MEMORY_BYTES },
        }
    }
}

/// Everything that decides what a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spec {
    /// What is opened.
    pub engine: Engine,
    /// What the commands are like.
    pub shape: Shape,
    /// Decides every command.
    pub seed: u64,
    /// How many commands each writer writes in one life of the process.
    pub commands: u64,
    /// How many threads write, each to its own replicas.
    pub writers: u64,
    /// How long a commit may collect.
    pub policy: Policy,
    /// What durability is asked for.
    pub asks: Asks,
    /// Whether writes wait for the disk.
    pub strategy: Strategy,
    /// How often the sidecar is written.
    pub marking: Marking,
    /// What goes wrong on purpose.
    pub lie: Lie,
}

impl Spec {
    /// A run of one writer who waits for every command.
    pub fn new(engine: Engine, shape: Shape, seed: u64, commands: u64) -> Self {
        Self {
            engine,
            shape,
            seed,
            commands,
            writers: 1,
            policy: Policy::Adaptive,
            asks: Asks::Synced,
            strategy: Strategy::Disk,
            marking: Marking::Always,
            lie: Lie::None,
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, shape, seed, commands, writers, .. } = self;
        let Self { policy, asks, strategy, marking, lie, .. } = self;
        write!(
            f,
            "engine={engine} shape={shape} seed={seed} commands={commands} writers={writers} \
             policy={policy} asks={asks} strategy={strategy} marking={marking} lie={lie}"
        )
    }
}

impl FromStr for Spec {
    type Err = Failure;

    /// Reads the words of a line that are its own, in any order, and passes over others.
    fn from_str(line: &str) -> Checked<Self> {
        let mut spec = Self::new(
            field(line, "engine")?.parse()?,
            field(line, "shape")?.parse()?,
            number(line, "seed")?,
            number(line, "commands")?,
        );
        spec.writers = number(line, "writers")?;
        if !(1..=MAX_WRITERS).contains(&spec.writers) {
            return Err(format!("there are 1 to {MAX_WRITERS} writers").into());
        }
        spec.policy = field(line, "policy")?.parse()?;
        spec.asks = field(line, "asks")?.parse()?;
        spec.strategy = field(line, "strategy")?.parse()?;
        spec.marking = field(line, "marking")?.parse()?;
        spec.lie = field(line, "lie")?.parse()?;
        Ok(spec)
    }
}

/// The value of a word `name=value` in a line.
pub(crate) fn field<'a>(line: &'a str, name: &str) -> Checked<&'a str> {
    let value = |word: &'a str| word.strip_prefix(name)?.strip_prefix('=');
    let found = line.split_whitespace().find_map(value);
    found.ok_or_else(|| format!("no word {name}= in {line:?}").into())
}

/// The value of a word, as a number.
pub(crate) fn number(line: &str, name: &str) -> Checked<u64> {
    let text = field(line, name)?;
    text.parse().map_err(|_| format!("{name}={text} is no number").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_all_of_a_spec() {
        let mut spec = Spec::new(Engine::FjallSmall, Shape::Conflict, 7, 60);
        spec.writers = 4;
        spec.policy = Policy::Batch;
        spec.asks = Asks::Callback;
        spec.strategy = Strategy::Mem;
        spec.marking = Marking::Seldom;
        spec.lie = Lie::SwapsValues;
        assert_eq!(format!("x=1 {spec} y=2").parse::<Spec>().unwrap(), spec);
    }

    #[test]
    fn a_line_that_lacks_a_word_is_refused_by_its_name() {
        let line = Spec::new(Engine::Redb, Shape::Append, 1, 2).to_string();
        let error = line.replace("asks=", "ask=").parse::<Spec>().unwrap_err();
        assert!(error.to_string().contains("asks"), "{error}");
        assert!(line.replace("writers=1", "writers=9").parse::<Spec>().is_err());
    }
}
