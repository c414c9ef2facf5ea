//! The binary: everything it does lives in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    usage_relay::run(std::env::args_os())
}
