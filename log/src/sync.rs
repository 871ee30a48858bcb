//! Locks, threads and the clock, from one place.
//!
//! They are those of the standard library. With `--cfg shuttle` they are those of a scheduler that
//! runs one thread at a time and decides who is next, so that tests can explore many orders of
//! events and repeat each. Time is then made of looks at the clock: every look takes
//! [`TICK`](explored::TICK), and whoever sleeps until some time lets others go first and then makes
//! it that time. (`Arc` is the standard library's either way.)

#[cfg(shuttle)]
pub(crate) use explored::{Instant, wait_until};
#[cfg(not(shuttle))]
pub(crate) use plain::wait_until;
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
#[cfg(shuttle)]
pub(crate) use shuttle::thread;
pub(crate) use std::sync::PoisonError;
#[cfg(not(shuttle))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(shuttle))]
pub(crate) use std::thread;
#[cfg(not(shuttle))]
pub(crate) use std::time::Instant;

#[cfg(not(shuttle))]
mod plain {
    use super::{Condvar, Instant, Mutex, MutexGuard, PoisonError};

    /// Waits for `changed` and until `until` at the most. `guard` is of `lock`.
    pub(crate) fn wait_until<'a, T>(
        changed: &Condvar,
        _lock: &'a Mutex<T>,
        guard: MutexGuard<'a, T>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, T> {
        let Some(until) = until else {
            return changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        let left = until.saturating_duration_since(Instant::now());
        changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(shuttle)]
mod explored {
    use std::cell::Cell;
    use std::ops::Add;
    use std::time::Duration;

    use super::{Condvar, Mutex, MutexGuard, PoisonError, thread};

    /// How much time a look at the clock takes.
    pub(crate) const TICK: Duration = Duration::from_millis(1);

    thread_local! {
        // All threads of an exploration are one thread of the system.
        static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// What the standard library's is, as far as it is used here.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) struct Instant(Duration);

    impl Instant {
        pub(crate) fn now() -> Self {
            Self(NOW.replace(NOW.get() + TICK))
        }

        pub(crate) fn elapsed(&self) -> Duration {
            Self::now().0.saturating_sub(self.0)
        }

        pub(crate) fn checked_add(&self, duration: Duration) -> Option<Self> {
            self.0.checked_add(duration).map(Self)
        }
    }

    impl Add<Duration> for Instant {
        type Output = Self;

        fn add(self, duration: Duration) -> Self {
            Self(self.0 + duration)
        }
    }

    /// Waits for `changed`, or lets others go first where there is an end to waiting: any of them
    /// may come before that.
    pub(crate) fn wait_until<'a, T>(
        changed: &Condvar,
        lock: &'a Mutex<T>,
        guard: MutexGuard<'a, T>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, T> {
        let Some(until) = until else {
            return changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        drop(guard);
        thread::yield_now();
        NOW.set(NOW.get().max(until.0));
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
