//! What a process says while it writes, and what it has promised at any moment of that.

use std::fmt;
use std::str::FromStr;

use crate::failure::{Checked, Failure};
use crate::history::{Story, join, numbers};
use crate::spec::field;

/// What a mark is about, and where the number and the writer lie in it.
const KIND_BITS: u32 = 4;
const WRITER_BITS: u32 = 4;
const NUMBER_BITS: u32 = 64 - KIND_BITS - WRITER_BITS;

/// What a process says about a command of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// It is about to be written.
    Issued,
    /// It is durable, and so is all that was written before it.
    Acked,
    /// The store was opened, and this was the last one in it.
    Opened,
    /// Its write failed: it is whole or absent once the store is opened again.
    Failed,
    /// `durable` of a log has answered what was written with it.
    Durable,
    /// Everything that was issued is durable: a sync or a close has returned.
    Settled,
}

impl Word {
    const ALL: [Self; 6] =
        [Self::Issued, Self::Acked, Self::Opened, Self::Failed, Self::Durable, Self::Settled];
}

/// One thing that a process says, in the order of what it asks of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) word: Word,
    pub(crate) writer: u64,
    pub(crate) number: u64,
}

impl Mark {
    pub(crate) fn new(word: Word, writer: u64, number: u64) -> Self {
        Self { word, writer, number }
    }

    /// The number that a trace keeps.
    pub(crate) fn to_number(self) -> u64 {
        let kind = self.word as u64 + 1;
        (kind << (64 - KIND_BITS)) | (self.writer << NUMBER_BITS) | self.number
    }

    /// `None` for a number that is no mark.
    pub(crate) fn from_number(mark: u64) -> Option<Self> {
        let kind = mark >> (64 - KIND_BITS);
        let word = Word::ALL.into_iter().find(|word| *word as u64 + 1 == kind)?;
        let writer = (mark >> NUMBER_BITS) & ((1 << WRITER_BITS) - 1);
        Some(Self { word, writer, number: mark & ((1 << NUMBER_BITS) - 1) })
    }
}

/// How far every writer may be, and how far it must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    /// The last command that was promised.
    pub(crate) acked: Vec<u64>,
    /// The last command that may be there.
    pub(crate) issued: Vec<u64>,
    /// How far a log's `durable` has vouched for.
    pub(crate) vouched: Vec<u64>,
    /// The order in which commands were accepted since the store was opened, by their writers.
    /// Empty where nobody knows it.
    pub(crate) order: Vec<u64>,
}

impl Bounds {
    /// Exactly at these commands.
    pub(crate) fn at(positions: &[u64]) -> Self {
        let at = positions.to_vec();
        Self { acked: at.clone(), issued: at.clone(), vouched: at, order: Vec::new() }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acked, issued, vouched, order } = self;
        let [acked, issued, vouched] = [acked, issued, vouched].map(|all| join(all, "."));
        let order = if order.is_empty() { "-".to_owned() } else { join(order, ".") };
        write!(f, "acked={acked} issued={issued} vouched={vouched} order={order}")
    }
}

impl FromStr for Bounds {
    type Err = Failure;

    fn from_str(line: &str) -> Checked<Self> {
        let all = |name| numbers(field(line, name)?, '.');
        let order = match field(line, "order")? {
            "-" => Vec::new(),
            text => numbers(text, '.')?,
        };
        Ok(Self { acked: all("acked")?, issued: all("issued")?, vouched: all("vouched")?, order })
    }
}

/// What the marks of a trace come to so far.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    story: Story,
    bounds: Bounds,
    /// Where the store's life began.
    base: Vec<u64>,
    /// Whether commands are issued one after the other, so that their order is known.
    ordered: bool,
    opening: Vec<u64>,
}

impl Ledger {
    /// Before the first mark of a trace that begins with a store which held these positions.
    pub(crate) fn new(story: &Story, positions: &[u64], ordered: bool) -> Self {
        Self {
            story: story.clone(),
            bounds: Bounds::at(positions),
            base: positions.to_vec(),
            ordered,
            opening: Vec::new(),
        }
    }

    pub(crate) fn story(&self) -> &Story {
        &self.story
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Takes the next mark of the trace.
    pub(crate) fn hear(&mut self, mark: Mark) {
        let Mark { word, writer, number } = mark;
        match word {
            Word::Issued => {
                raise(&mut self.bounds.issued, writer, number);
                if self.ordered {
                    self.bounds.order.push(writer);
                }
            }
            Word::Acked => self.ack(writer, number),
            Word::Durable => raise(&mut self.bounds.vouched, writer, number),
            Word::Failed => {}
            Word::Settled => self.bounds.acked.clone_from(&self.bounds.issued),
            Word::Opened => {
                self.opening.push(number);
                if self.opening.len() as u64 == self.story.spec.writers {
                    self.open();
                }
            }
        }
    }

    fn open(&mut self) {
        let positions = std::mem::take(&mut self.opening);
        self.bounds = Bounds::at(&positions);
        self.base.clone_from(&positions);
        self.story.lives.push(positions);
    }

    /// Everything that was accepted before a durable command is durable, too.
    fn ack(&mut self, writer: u64, number: u64) {
        raise(&mut self.bounds.acked, writer, number);
        if !self.ordered {
            return;
        }
        let mut reached = self.base.clone();
        for &next in &self.bounds.order {
            let Some(at) = slot(&mut reached, next) else { continue };
            *at += 1;
            if next == writer && *at == number {
                break;
            }
        }
        for (acked, reached) in self.bounds.acked.iter_mut().zip(reached) {
            *acked = reached.max(*acked);
        }
    }
}

fn slot(all: &mut [u64], writer: u64) -> Option<&mut u64> {
    all.get_mut(usize::try_from(writer).ok()?)
}

fn raise(all: &mut [u64], writer: u64, number: u64) {
    if let Some(held) = slot(all, writer) {
        *held = number.max(*held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Engine, Shape, Spec};

    fn ledger(writers: u64, ordered: bool) -> Ledger {
        let mut spec = Spec::new(Engine::Redb, Shape::Append, 1, 9);
        spec.writers = writers;
        let nobody = vec![0; usize::try_from(writers).unwrap()];
        Ledger::new(&Story::new(spec), &nobody, ordered)
    }

    fn heard(mut ledger: Ledger, marks: &[(Word, u64, u64)]) -> Ledger {
        for &(word, writer, number) in marks {
            let mark = Mark::new(word, writer, number);
            ledger.hear(Mark::from_number(mark.to_number()).unwrap());
        }
        ledger
    }

    #[test]
    fn a_mark_survives_its_number() {
        for word in Word::ALL {
            let mark = Mark::new(word, 7, 1 << 50);
            assert_eq!(Mark::from_number(mark.to_number()), Some(mark));
        }
        assert_eq!(Mark::from_number(5), None);
    }

    #[test]
    fn what_was_issued_may_be_there_and_what_was_acknowledged_must_be() {
        use Word::{Acked, Issued, Opened};
        let marks = [(Opened, 0, 0), (Issued, 0, 1), (Acked, 0, 1), (Issued, 0, 2)];
        let ledger = heard(ledger(1, false), &marks);
        assert_eq!((ledger.bounds.acked[0], ledger.bounds.issued[0]), (1, 2));
        let closed = heard(ledger, &[(Word::Settled, 0, 0)]);
        assert_eq!(closed.bounds.acked, [2]);
        let reopened = heard(closed, &[(Opened, 0, 2)]);
        assert_eq!(reopened.bounds, Bounds::at(&[2]));
        assert_eq!(reopened.story.lives, [vec![0], vec![2]]);
    }

    #[test]
    fn a_durable_command_vouches_for_all_that_was_accepted_before_it() {
        use Word::{Acked, Issued};
        let marks = [(Issued, 0, 1), (Issued, 1, 1), (Issued, 0, 2), (Issued, 1, 2), (Acked, 0, 2)];
        assert_eq!(heard(ledger(2, true), &marks).bounds.acked, [2, 1]);
        assert_eq!(heard(ledger(2, false), &marks).bounds.acked, [2, 0]);
    }

    #[test]
    fn bounds_survive_their_line() {
        use Word::Issued;
        let bounds = heard(ledger(2, true), &[(Issued, 0, 1), (Issued, 1, 1)]).bounds;
        assert_eq!(format!("x=1 {bounds}").parse::<Bounds>().unwrap(), bounds);
        let still = Bounds::at(&[4, 5]);
        assert_eq!(still.to_string().parse::<Bounds>().unwrap(), still);
    }
}
