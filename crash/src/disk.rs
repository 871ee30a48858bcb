//! What a power cut may undo.

use std::fmt;
use std::str::FromStr;

/// What of a file system's calls is on the disk when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Model {
    /// What POSIX promises, and nothing more: a file's bytes and length are on the disk after a
    /// sync of the file, a name after a sync of its directory, and whatever was not synced may be
    /// there or not, each on its own. Common file systems do better.
    Strict,
    /// What journaling file systems as ext4 and xfs do: names and lengths go through one journal
    /// in the order of the calls, and every sync of anything writes the journal out. Bytes are on
    /// the disk after a sync of their file; before it, in any order, where each sector holds one
    /// of the contents that it had.
    Journal,
}

impl Model {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Strict, Self::Journal];
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strict => "strict",
            Self::Journal => "journal",
        })
    }
}

impl FromStr for Model {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|model| model.to_string() == name)
            .ok_or_else(|| format!("there is no model {name}"))
    }
}
