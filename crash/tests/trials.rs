//! Power cuts, failing disks, rot and kills on every engine, and what the net must catch.

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    if let Some(code) = kvlogdb_crash::worker::play() {
        return code;
    }
    #[cfg(target_os = "linux")]
    kvlogdb_crash::record::fuse::enter_namespace();
    libtest_mimic::run(&Arguments::from_args(), kvlogdb_crash::tests()).exit_code()
}
