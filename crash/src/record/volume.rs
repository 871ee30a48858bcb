//! The file system that is recorded, and that fails as its plan says.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{ARM, FREE, Recorded};
use crate::faults::{Call, Effect, FaultPlan, Start};
use crate::image::{Content, PAGE_BYTES};
use crate::trace::{Cache, Ino, Kind, Name, Place};
use crate::{Image, Mark, Op, Trace};

/// Begins a mark in the control file.
const WILL: &[u8] = b"will ";
/// Begins a mark in the control file.
const DID: &[u8] = b"did ";

/// Why a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    NotFound,
    Exists,
    NotEmpty,
    IsDir,
    NotDir,
    Invalid,
    Full,
    /// The fault plan said so.
    Io,
    /// The fault plan said so: the caller must not live to hear of it.
    Killed,
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A file system in memory, with a memory of what was done to it.
#[derive(Debug)]
pub(crate) struct Volume {
    base: Image,
    image: Image,
    trace: Trace,
    plan: FaultPlan,
    armed: bool,
    /// How many calls of the plan's kind were counted.
    counted: u64,
    struck: u64,
    /// Whether the caller was killed: nothing that comes after it counts.
    killed: bool,
    full_at_bytes: Option<u64>,
    /// The contents as they were synced, for a cache that goes back to them.
    synced: BTreeMap<Ino, Content>,
}

impl Volume {
    pub(crate) fn new(image: &Image, plan: FaultPlan) -> Self {
        let mut base = image.clone();
        base.prune();
        let armed = plan.start == Start::AtOnce;
        let full_at_bytes = plan.room_bytes.map(|room| base.allocated_bytes() + room);
        Self {
            image: base.clone(),
            base,
            trace: Trace::default(),
            plan,
            armed,
            counted: 0,
            struck: 0,
            killed: false,
            full_at_bytes,
            synced: BTreeMap::new(),
        }
    }

    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    pub(crate) fn recorded(&self) -> Recorded {
        Recorded {
            base: self.base.clone(),
            trace: self.trace.clone(),
            end: self.image.clone(),
            struck: self.struck,
        }
    }

    /// Another caller begins.
    pub(crate) fn revive(&mut self) {
        self.killed = false;
    }

    /// What the workload says or asks for through the control file.
    pub(crate) fn control(&mut self, text: &[u8]) -> Result<()> {
        let text = text.trim_ascii();
        if text == ARM {
            self.armed = true;
        } else if text == FREE {
            self.full_at_bytes = None;
            self.plan.fault = None;
        } else if let Some(text) = text.strip_prefix(WILL) {
            self.mark(Mark::Will(Bytes::copy_from_slice(text)))?;
        } else if let Some(text) = text.strip_prefix(DID) {
            self.mark(Mark::Did(Bytes::copy_from_slice(text)))?;
        } else {
            return Err(Failure::Invalid);
        }
        Ok(())
    }

    pub(crate) fn mark(&mut self, mark: Mark) -> Result<()> {
        self.alive()?;
        self.trace.push(Op::Mark(mark));
        Ok(())
    }

    fn alive(&self) -> Result<()> {
        if self.killed { Err(Failure::Killed) } else { Ok(()) }
    }

    /// Counts a call, and answers what happens to it beside what should.
    fn strike(&mut self, call: Call) -> Result<Option<Effect>> {
        self.alive()?;
        let Some(fault) = self.plan.fault.filter(|fault| self.armed && fault.call == call) else {
            return Ok(None);
        };
        self.counted += 1;
        if self.counted != fault.nth {
            return Ok(None);
        }
        self.struck += 1;
        match fault.effect {
            Effect::Fail => Err(Failure::Io),
            Effect::Kill => {
                self.killed = true;
                Err(Failure::Killed)
            }
            other => Ok(Some(other)),
        }
    }

    pub(crate) fn lookup(&self, dir: Ino, name: &str) -> Result<Ino> {
        self.image.lookup(dir, name).ok_or(Failure::NotFound)
    }

    /// Makes a file or directory. A name that is taken stays as it is.
    pub(crate) fn make(&mut self, at: Place, kind: Kind) -> Result<Ino> {
        self.strike(match kind {
            Kind::File => Call::Open,
            Kind::Dir => Call::MakeDir,
        })?;
        self.free_name(&at)?;
        let node = self.image.fresh();
        self.image.make(node, kind);
        self.image.set_name(&at, Some(node));
        self.trace.push(Op::Make { at, node, kind });
        Ok(node)
    }

    fn free_name(&self, at: &Place) -> Result<()> {
        let names = self.image.names(at.dir).ok_or(Failure::NotDir)?;
        if names.contains_key(&at.name) { Err(Failure::Exists) } else { Ok(()) }
    }

    /// Opens a file that exists.
    pub(crate) fn open(&mut self, file: Ino) -> Result<()> {
        self.strike(Call::Open)?;
        match self.image.kind(file) {
            Some(_) => Ok(()),
            None => Err(Failure::NotFound),
        }
    }

    pub(crate) fn link(&mut self, node: Ino, at: Place) -> Result<()> {
        self.strike(Call::Open)?;
        self.free_name(&at)?;
        self.image.content(node).ok_or(Failure::Invalid)?;
        self.image.set_name(&at, Some(node));
        self.trace.push(Op::Link { at, node });
        Ok(())
    }

    /// Removes the name of a file, or of an empty directory.
    pub(crate) fn remove(&mut self, at: Place, kind: Kind) -> Result<()> {
        self.strike(Call::Remove)?;
        let node = self.lookup(at.dir, &at.name)?;
        self.replaceable(node, kind)?;
        self.image.set_name(&at, None);
        self.trace.push(Op::Remove { at });
        Ok(())
    }

    /// Whether a node of this kind may lose its name to one of the wanted kind.
    fn replaceable(&self, node: Ino, wanted: Kind) -> Result<()> {
        match (self.image.kind(node), wanted) {
            (Some(Kind::Dir), Kind::File) => Err(Failure::IsDir),
            (Some(Kind::File), Kind::Dir) => Err(Failure::NotDir),
            _ if self.image.names(node).is_some_and(|names| !names.is_empty()) => {
                Err(Failure::NotEmpty)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn rename(&mut self, from: Place, to: Place) -> Result<()> {
        self.strike(Call::Rename)?;
        let node = self.lookup(from.dir, &from.name)?;
        self.image.names(to.dir).ok_or(Failure::NotDir)?;
        let kind = self.image.kind(node).ok_or(Failure::NotFound)?;
        match self.lookup(to.dir, &to.name) {
            Ok(old) if old == node => return Ok(()),
            Ok(old) => self.replaceable(old, kind)?,
            Err(_) => {}
        }
        self.image.set_name(&from, None);
        self.image.set_name(&to, Some(node));
        self.trace.push(Op::Rename { from, to, node });
        Ok(())
    }

    /// Reads up to so many bytes.
    pub(crate) fn read(&mut self, file: Ino, offset: u64, len: usize) -> Result<Vec<u8>> {
        let effect = self.strike(Call::Read)?;
        let content = self.image.content(file).ok_or(Failure::IsDir)?;
        let mut bytes = vec![0; len];
        let count = content.read(offset, &mut bytes);
        bytes.truncate(count);
        match effect {
            Some(Effect::Short) if bytes.len() > 1 => bytes.truncate(bytes.len() / 2),
            Some(Effect::FlipBit(which)) if !bytes.is_empty() => {
                let at = which / 8 % bytes.len() as u64;
                if let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at)) {
                    *byte ^= 1 << (which % 8);
                }
            }
            _ => {}
        }
        Ok(bytes)
    }

    /// Writes, and answers how many bytes.
    pub(crate) fn write(&mut self, file: Ino, offset: u64, data: &[u8]) -> Result<usize> {
        let effect = self.strike(Call::Write)?;
        let content = self.image.content(file).ok_or(Failure::IsDir)?;
        let mut len = data.len();
        if effect == Some(Effect::Short) && len > 1 {
            len /= 2;
        }
        if let Some(room) = self.room_bytes() {
            let fits = content.fits(offset, len, room);
            self.struck += u64::from(fits < len);
            if fits < len {
                len = if self.plan.whole { 0 } else { fits };
            }
            if len == 0 && !data.is_empty() {
                return Err(Failure::Full);
            }
        }
        let data = Bytes::copy_from_slice(data.get(..len).unwrap_or_default());
        let content = self.image.content_mut(file).ok_or(Failure::IsDir)?;
        content.write(offset, &data);
        if len > 0 {
            self.trace.push(Op::Write { file, offset, data });
        }
        Ok(len)
    }

    /// How many bytes can still be allocated.
    fn room_bytes(&self) -> Option<u64> {
        let full_at = self.full_at_bytes.filter(|_| self.armed)?;
        Some(full_at.saturating_sub(self.image.allocated_bytes()))
    }

    pub(crate) fn set_len(&mut self, file: Ino, len: u64) -> Result<()> {
        self.strike(Call::SetLen)?;
        let content = self.image.content_mut(file).ok_or(Failure::IsDir)?;
        if content.len() != len {
            content.set_len(len);
            self.trace.push(Op::SetLen { file, len });
        }
        Ok(())
    }

    /// Lets a file grow to hold this range, where there is room for it.
    pub(crate) fn allocate(&mut self, file: Ino, offset: u64, len: u64) -> Result<()> {
        let content = self.image.content(file).ok_or(Failure::IsDir)?;
        let end = offset.checked_add(len).ok_or(Failure::Invalid)?;
        let grown = end.saturating_sub(content.len().max(offset));
        if self.room_bytes().is_some_and(|room| grown > room) {
            self.struck += 1;
            return Err(Failure::Full);
        }
        let end = end.max(content.len());
        self.set_len(file, end)
    }

    /// Makes a range of a file zeros; its length stays.
    pub(crate) fn punch(&mut self, file: Ino, offset: u64, len: u64) -> Result<()> {
        self.strike(Call::SetLen)?;
        let content = self.image.content_mut(file).ok_or(Failure::IsDir)?;
        let end = offset.saturating_add(len).min(content.len());
        let zeros = usize::try_from(end.saturating_sub(offset)).map_err(|_| Failure::Invalid)?;
        let data = Bytes::from(vec![0; zeros]);
        content.write(offset, &data);
        if !data.is_empty() {
            self.trace.push(Op::Write { file, offset, data });
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self, node: Ino) -> Result<()> {
        if let Some(Effect::FailSync(cache)) = self.strike(Call::Sync)? {
            if let (Cache::Reverted, Some(content)) = (cache, self.image.content_mut(node)) {
                let before = self.base.content(node);
                let old = self.synced.get(&node).or(before).cloned();
                *content = old.unwrap_or_default();
            }
            self.trace.push(Op::SyncFailed { node, cache });
            return Err(Failure::Io);
        }
        if let (true, Some(content)) = (self.reverts(), self.image.content(node)) {
            self.synced.insert(node, content.clone());
        }
        self.trace.push(Op::Sync { node });
        Ok(())
    }

    /// Whether contents as they were synced may be needed.
    fn reverts(&self) -> bool {
        let effect = self.plan.fault.map(|fault| fault.effect);
        effect == Some(Effect::FailSync(Cache::Reverted))
    }

    /// The names in a directory, with what they lead to.
    pub(crate) fn list(&self, dir: Ino) -> Result<Vec<(Name, Ino, Kind)>> {
        let names = self.image.names(dir).ok_or(Failure::NotDir)?;
        let kind = |node| self.image.kind(node).unwrap_or(Kind::File);
        Ok(names.iter().map(|(name, &node)| (name.clone(), node, kind(node))).collect())
    }

    /// How many pages there are and how many of them are free.
    pub(crate) fn pages(&self) -> (u64, u64) {
        const PLENTY: u64 = 1 << 28;
        let page = PAGE_BYTES as u64;
        let free = self.room_bytes().map_or(PLENTY, |room| room / page);
        (free + self.image.allocated_bytes() / page, free)
    }
}
