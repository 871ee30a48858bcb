//! What is wrong with a store, by name.

use std::fmt;
use std::str::FromStr;

use crate::failure::{Checked, Failure};
use crate::history::{join, numbers};

/// What can be wrong with a store after a crash, a fault or rot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Finding {
    /// It does not open.
    NotOpened,
    /// Something panicked.
    Panicked,
    /// Something took longer than ten seconds.
    Hung,
    /// An acknowledged write is not there.
    LostAcknowledged,
    /// What a log's `durable` had vouched for is not there.
    WrongDurable,
    /// Something is there again that a later command had removed.
    Resurrected,
    /// Something is there that nobody wrote, or that nobody wrote there.
    Invented,
    /// A log has an index without an entry between two with one.
    Hole,
    /// Term or vote are older than what was acknowledged, or not one pair.
    RegressedVote,
    /// The purge boundary is older than what was acknowledged.
    RegressedBoundary,
    /// A part of a command is there and another is not.
    HalfBatch,
    /// A later command is there and an earlier one of another writer is not.
    OutOfOrder,
    /// A log that no command in flight touches has changed.
    DamagedNeighbour,
    /// A record is reported as damaged though nothing was damaged.
    Damaged,
    /// A walk through the store finds an invariant broken.
    Unsound,
    /// It does not accept one more synced append, or does not keep it.
    RefusesAppends,
    /// Opening it a second time shows something else than the first time.
    Unstable,
    /// It is damaged, opens, and shows less than it held without a word.
    SilentlyShorter,
    /// It is damaged, opens, and shows something that it did not hold.
    SilentlyWrong,
    /// The harness itself failed, and nothing was checked.
    NotChecked,
}

impl Finding {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::NotOpened,
        Self::Panicked,
        Self::Hung,
        Self::LostAcknowledged,
        Self::WrongDurable,
        Self::Resurrected,
        Self::Invented,
        Self::Hole,
        Self::RegressedVote,
        Self::RegressedBoundary,
        Self::HalfBatch,
        Self::OutOfOrder,
        Self::DamagedNeighbour,
        Self::Damaged,
        Self::Unsound,
        Self::RefusesAppends,
        Self::Unstable,
        Self::SilentlyShorter,
        Self::SilentlyWrong,
        Self::NotChecked,
    ];
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl FromStr for Finding {
    type Err = Failure;

    fn from_str(word: &str) -> Checked<Self> {
        let found = Self::ALL.into_iter().find(|finding| finding.to_string() == word);
        found.ok_or_else(|| format!("there is no finding {word:?}").into())
    }
}

/// What a check of one store came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it must be, and every writer is at this command.
    Sound(Vec<u64>),
    /// As `Sound`, and the store opened only with the repair of a torn last batch, after the one
    /// refusal that is allowed.
    Repaired(Vec<u64>),
    /// The damage was reported, by an error of a type of its own.
    Refused(String),
    /// Something is wrong, in words behind the name.
    Failed(Finding, String),
}

impl Verdict {
    /// A failure, with its words on one line.
    pub(crate) fn failed(finding: Finding, text: impl fmt::Display) -> Self {
        Self::Failed(finding, text.to_string().replace('\n', " / "))
    }

    /// Where the writers are in a store that is as it must be.
    pub fn positions(&self) -> Option<&[u64]> {
        match self {
            Self::Sound(positions) | Self::Repaired(positions) => Some(positions),
            Self::Refused(_) | Self::Failed(..) => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sound(positions) => write!(f, "sound {}", join(positions, ".")),
            Self::Repaired(positions) => write!(f, "repaired {}", join(positions, ".")),
            Self::Refused(text) => write!(f, "refused {text}"),
            Self::Failed(finding, text) => write!(f, "failed {finding} {text}"),
        }
    }
}

impl FromStr for Verdict {
    type Err = Failure;

    fn from_str(line: &str) -> Checked<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "sound" => Ok(Self::Sound(numbers(rest, '.')?)),
            "repaired" => Ok(Self::Repaired(numbers(rest, '.')?)),
            "refused" => Ok(Self::Refused(rest.to_owned())),
            "failed" => {
                let (finding, text) = rest.split_once(' ').unwrap_or((rest, ""));
                Ok(Self::Failed(finding.parse()?, text.to_owned()))
            }
            _ => Err(format!("there is no verdict {line:?}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_survives_its_line() {
        for finding in Finding::ALL {
            let verdict = Verdict::failed(finding, "one\ntwo words");
            assert_eq!(verdict.to_string().parse::<Verdict>().unwrap(), verdict);
        }
        for verdict in [
            Verdict::Sound(vec![3, 4]),
            Verdict::Repaired(vec![0]),
            Verdict::Refused("torn".to_owned()),
        ] {
            assert_eq!(verdict.to_string().parse::<Verdict>().unwrap(), verdict);
        }
    }
}
