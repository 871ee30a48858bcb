//! Which replicas a store has, by number and name, so that one whose records are gone is missed.

use std::collections::BTreeSet;

use kvlogdb_engine_api::{MetaKey, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::plan::Step;
use crate::record::{self, slot};

/// The replicas that exist, as the store's second record. It changes in the batch in which they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Census {
    /// How many there are.
    replicas: u64,
    /// The sum of the checksums of their names.
    names: u64,
}

impl Census {
    pub(crate) fn of(replicas: impl IntoIterator<Item = ReplicaId>) -> Self {
        let mut census = Self::default();
        replicas.into_iter().for_each(|id| census.note(id, false, true));
        census
    }

    /// Takes note of a replica that existed, or did not, and now does, or does not.
    pub(crate) fn note(&mut self, id: ReplicaId, before: bool, after: bool) {
        let name = u64::from(crc32c::crc32c(&MetaKey::replica(id, slot::STATE).encode()));
        match (before, after) {
            (false, true) => {
                self.replicas = self.replicas.wrapping_add(1);
                self.names = self.names.wrapping_add(name);
            }
            (true, false) => {
                self.replicas = self.replicas.wrapping_sub(1);
                self.names = self.names.wrapping_sub(name);
            }
            _ => {}
        }
    }

    /// The step that writes it.
    pub(crate) fn step(&self) -> Step<'static> {
        let body = record::to_body(self);
        Step::PutMeta { key: MetaKey::store(slot::CENSUS), body, data: &[] }
    }

    /// Compares it with what was found. Names under which there is nothing but damage may be
    /// damaged replicas' own, or what damage has made of other names: then a replica is missing,
    /// and nobody can tell which it was.
    ///
    /// # Errors
    ///
    /// What is wrong, where a replica is missing, or there is one too many.
    pub(crate) fn check(&self, found: &Found) -> Result<(), String> {
        let Found { stated, others, damaged } = found;
        let with = |more: &[&BTreeSet<ReplicaId>]| {
            let all: BTreeSet<_> = more.iter().copied().flatten().chain(stated).copied().collect();
            Self::of(all)
        };
        if [with(&[]), with(&[others]), with(&[others, damaged])].contains(self) {
            return Ok(());
        }
        let (counted, found) = (self.replicas, stated.len() + others.len() + damaged.len());
        Err(format!("its census counts {counted} replicas, and they are not the {found} found"))
    }
}

/// The names under which a store has records.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// With an intact state record.
    pub(crate) stated: BTreeSet<ReplicaId>,
    /// With another intact record, and without that one.
    pub(crate) others: BTreeSet<ReplicaId>,
    /// With damaged records only.
    pub(crate) damaged: BTreeSet<ReplicaId>,
}

impl Found {
    /// Takes note of an intact record. Neither what waits for deletion nor a marked end is a reason
    /// for a replica to be.
    pub(crate) fn note(&mut self, id: ReplicaId, number: u16) {
        match number {
            slot::STATE => {
                self.others.remove(&id);
                self.stated.insert(id);
            }
            slot::TRASH | slot::MARKED => {}
            _ if self.stated.contains(&id) => {}
            _ => {
                self.others.insert(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(groups: &[u64]) -> BTreeSet<ReplicaId> {
        groups.iter().copied().map(ReplicaId::from).collect()
    }

    fn check(stated: &[u64], others: &[u64], damaged: &[u64]) -> bool {
        let (stated, others, damaged) = (set(stated), set(others), set(damaged));
        Census::of(set(&[1, 2, 3])).check(&Found { stated, others, damaged }).is_ok()
    }

    #[test]
    fn a_replica_that_is_gone_and_one_too_many_are_missed() {
        assert!(check(&[1, 2, 3], &[], &[]));
        assert!(!check(&[1, 2], &[], &[]));
        assert!(!check(&[], &[], &[]));
        assert!(!check(&[1, 2, 3, 4], &[], &[]));
        assert!(!check(&[1, 2, 4], &[], &[]));
        assert!(!check(&[1, 2], &[], &[9]), "what is under 9 may have been 3");
    }

    #[test]
    fn a_replica_that_is_damaged_under_its_own_name_is_there() {
        assert!(check(&[1, 3], &[], &[2]));
        assert!(check(&[1, 3], &[2], &[]));
        assert!(check(&[1, 3], &[2], &[9]), "the state record of 2 is under 9");
        assert!(check(&[1, 2, 3], &[], &[9]), "another record of 2 is under 9");
        assert!(check(&[1, 2, 3], &[9], &[]), "what is under 9 is refused for itself");
    }

    #[test]
    fn what_comes_and_goes_leaves_no_trace() {
        let mut census = Census::of(set(&[1, 2]));
        let before = census;
        census.note(ReplicaId::from(7), false, true);
        census.note(ReplicaId::from(1), true, true);
        assert_ne!(census, before);
        census.note(ReplicaId::from(7), true, false);
        census.note(ReplicaId::from(8), false, false);
        assert_eq!(census, before);
    }
}
