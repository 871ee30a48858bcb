//! The command: runs for as long as it is told, or runs one failure again.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = kvlogdb_crash::worker::play() {
        return code;
    }
    kvlogdb_crash::soak::main()
}
