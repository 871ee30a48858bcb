#![cfg_attr(docsrs, feature(doc_cfg))]
//! x

mod codec;
mod error;
mod off_thread;
mod runs;
mod store;
#[cfg(feature = "openraft-0-10")]
pub mod v010;
#[cfg(feature = "openraft-0-9")]
pub mod v09;

pub use error::{Cause, Error, Result};
pub use store::FIRST_FREE_SLOT;
