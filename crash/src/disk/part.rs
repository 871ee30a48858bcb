//! Which parts of the pending calls a crash state has.

use std::collections::HashMap;
use std::ops::Range;

use kvlogdb_conformance::Random;

use super::{Disk, Model, Pending, Write, grow};
use crate::Image;
use crate::trace::Ino;

/// What is there of one pending call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Nothing,
    Whole,
    /// The first sectors of what it writes; nothing of any other call.
    Head(usize),
    /// Blocks by chance; any other call as a whole by the same chance.
    Sieve {
        seed: u64,
        grain_bytes: u32,
        percent: u8,
    },
}

/// What is there of all of them.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    /// For each pending call, in order.
    pub(crate) parts: Vec<Part>,
    /// How many names and lengths the journal holds. Without a journal, no meaning.
    pub(crate) journal: usize,
}

/// What decides for one block, or for a call as a whole.
fn falls(seed: u64, block: u64, percent: u8) -> bool {
    let mut random = Random::new(seed ^ block.wrapping_mul(0xd6e8_feb8_6659_fd93));
    random.below(100) < u64::from(percent)
}

impl Part {
    /// Whether it has a sector of a write.
    fn has(self, write: &Write, sector: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Whole => true,
            Self::Head(sectors) => sector < write.sectors().0 + sectors as u64,
            Self::Sieve { seed, grain_bytes, percent } => {
                falls(seed, sector * write.sector_bytes / u64::from(grain_bytes.max(1)), percent)
            }
        }
    }

    /// Whether it has a name or a length that no journal orders.
    fn has_meta(self) -> bool {
        match self {
            Self::Nothing | Self::Head(_) => false,
            Self::Whole => true,
            Self::Sieve { seed, percent, .. } => falls(seed, u64::MAX, percent),
        }
    }
}

/// Sectors that several pending writes touch, with those writes, oldest first. Empty without a
/// journal, where no cache is assumed either.
pub(crate) type Shared = HashMap<(Ino, u64), Vec<usize>>;

impl Disk {
    /// What is on the disk with this much of what is pending.
    pub(crate) fn image(&self, selection: &Selection, shared: &Shared) -> Image {
        let newest = self.newest(selection, shared);
        let mut image = self.durable.clone();
        let mut journaled = 0;
        for (at, (pending, &part)) in self.pending.iter().zip(&selection.parts).enumerate() {
            let in_journal = self.is_journaled(pending);
            let meta = if in_journal { journaled < selection.journal } else { part.has_meta() };
            journaled += usize::from(in_journal);
            match pending {
                Pending::Names(names) if meta => {
                    for (place, node) in names {
                        image.set_name(place, *node);
                    }
                }
                Pending::Len { file, len } if meta => {
                    if let Some(content) = image.content_mut(*file) {
                        content.set_len(*len);
                    }
                }
                Pending::Names(_) | Pending::Len { .. } => {}
                Pending::Write(write) => {
                    if self.model == Model::Journal {
                        settle_len(&mut image, write, part, meta);
                    }
                    let kept = |sector| match newest.get(&(write.file, sector)) {
                        Some(&newest) => newest.is_some_and(|newest| at <= newest),
                        None => part.has(write, sector),
                    };
                    self.place(&mut image, write, part, !newest.is_empty(), kept);
                }
            }
        }
        image
    }

    /// Writes the kept sectors of one call.
    fn place(
        &self,
        image: &mut Image,
        write: &Write,
        part: Part,
        sectors_are_shared: bool,
        kept: impl Fn(u64) -> bool,
    ) {
        if part == Part::Nothing && !sectors_are_shared {
            return;
        }
        let (first, count) = write.sectors();
        let whole = part == Part::Whole && !sectors_are_shared;
        let runs = runs(first..first + count as u64, |sector| whole || kept(sector));
        let Some(content) = image.content_mut(write.file).filter(|_| !runs.is_empty()) else {
            return;
        };
        for run in runs {
            let from = (run.start * write.sector_bytes).max(write.offset);
            let mut data = write.between(from, run.end * write.sector_bytes);
            if self.model == Model::Journal {
                let room = content.len().saturating_sub(from);
                data.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            }
            content.write(from, &data);
        }
    }

    /// For each sector that several pending writes touch, the newest of them that is kept there.
    /// A cache has one content of a sector at a time, with everything that was written before.
    fn newest(&self, selection: &Selection, shared: &Shared) -> HashMap<(Ino, u64), Option<usize>> {
        let newest = |(&key, writers): (&(Ino, u64), &Vec<usize>)| {
            let kept = |at: &usize| match (self.pending.get(*at), selection.parts.get(*at)) {
                (Some(Pending::Write(write)), Some(part)) => part.has(write, key.1),
                _ => false,
            };
            (key, writers.iter().copied().rfind(kept))
        };
        shared.iter().map(newest).collect()
    }

    /// The sectors whose fate the pending writes share.
    pub(crate) fn shared(&self) -> Shared {
        let mut shared = Shared::new();
        if self.model != Model::Journal {
            return shared;
        }
        for (at, pending) in self.pending.iter().enumerate() {
            let Pending::Write(write) = pending else { continue };
            let (first, count) = write.sectors();
            for sector in first..first + count as u64 {
                shared.entry((write.file, sector)).or_default().push(at);
            }
        }
        shared.retain(|_, writers| writers.len() > 1);
        shared
    }
}

/// In a journal the length is not the bytes' affair, but where a file grows by a torn write the
/// journal may have heard of its first sectors.
fn settle_len(image: &mut Image, write: &Write, part: Part, meta: bool) {
    let Some(len) = write.grows_to else { return };
    match part {
        _ if meta => grow(image, write.file, len),
        Part::Head(sectors) if sectors > 0 => {
            let end = (write.sectors().0 + sectors as u64) * write.sector_bytes;
            grow(image, write.file, len.min(end));
        }
        _ => {}
    }
}

fn runs(sectors: Range<u64>, kept: impl Fn(u64) -> bool) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for sector in sectors.filter(|&sector| kept(sector)) {
        match runs.last_mut() {
            Some(run) if run.end == sector => run.end += 1,
            _ => runs.push(sector..sector + 1),
        }
    }
    runs
}
