//! The recorded file system beside a real one, and its faults.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests that run without the usual harness"
)]

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    use libtest_mimic::{Arguments, run};
    let trial = kvlogdb_crash::needs::fuse_trial("the_recorded_file_system", || Ok(()));
    run(&Arguments::from_args(), vec![trial]).exit_code()
}
