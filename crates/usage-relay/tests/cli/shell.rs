//! `usage-relay completions` and `usage-relay man`: what they print is what shells and man take, and no command is missing.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::every_command::leaves;

fn run(words: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_usage-relay")).env_clear().args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Every word that names a command, those with others below them too.
fn names() -> Vec<String> {
    leaves().into_iter().flat_map(|(typed, _)| typed.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// What `program` says of `given` on its standard input; `None` where there is no such program.
fn fed(program: &str, arguments: &[&str], given: &[u8]) -> Option<Output> {
    let mut command = Command::new(program);
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
    let mut input = child.stdin.take().unwrap();
    let given = given.to_vec();
    let fed = std::thread::spawn(move || input.write_all(&given));
    let output = child.wait_with_output().unwrap();
    fed.join().unwrap().unwrap();
    Some(output)
}

#[test]
fn each_shell_gets_a_script_with_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = text(&run(&["completions", shell]));
        for name in names() {
            assert!(script.contains(&name), "expected the script for {shell} to complete `{name}`");
        }
    }
}

#[test]
fn bash_takes_its_script_and_completes_with_it() {
    let script = text(&run(&["completions", "bash"]));
    let checked = fed("bash", &["-n"], script.as_bytes()).expect("bash, which the Makefile needs too");
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    let ask = format!(
        "{script}\nCOMP_WORDS=(usage-relay quarantine \"\"); COMP_CWORD=2; _usage_relay usage-relay \"\" quarantine; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let answered = fed("bash", &[], ask.as_bytes()).unwrap();
    let offered = text(&answered);
    for name in ["list", "show", "export", "import", "drop"] {
        assert!(offered.lines().any(|line| line == name), "{answered:?}");
    }
}

#[test]
fn other_shells_that_are_there_take_theirs() {
    for (shell, check) in [("zsh", &["-n"][..]), ("fish", &["--no-execute"])] {
        let script = run(&["completions", shell]).stdout;
        if let Some(checked) = fed(shell, check, &script) {
            assert!(checked.status.success() && checked.stderr.is_empty(), "{shell}: {checked:?}");
        }
    }
}

/// What of a page `man` would stumble over: a line that begins as a request does, and is none that these pages use.
fn strange_requests(page: &str) -> Vec<&str> {
    let known = [".TH", ".SH", ".IP", ".SS", ".TP", ".PP", ".RS", ".RE", ".br", ".ie", ".el"];
    page.lines().filter(|line| line.starts_with('.') && !known.iter().any(|request| line.starts_with(request))).collect()
}

#[test]
fn the_manual_has_a_page_for_each_command_that_man_can_show() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["man", folder.path().to_str().unwrap()]);
    assert_eq!(text(&output), "", "what it wrote is told on standard error");
    let first = text(&run(&["man"]));
    for (typed, _) in leaves() {
        let name = format!("usage-relay-{}", typed.replace(' ', "-"));
        let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
        assert_eq!(strange_requests(&page), Vec::<&str>::new(), "{name}");
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS") && page.contains(".SH OPTIONS"), "{name}");
        assert!(page.contains("usage\\-relay ") && page.contains("Examples:"), "{name} says how it is called: {page}");
        let command = typed.split(' ').next().unwrap();
        assert!(first.contains(&format!("usage\\-relay\\-{command}(1)")), "expected the first page to name `{command}`");
    }
    let pages = std::fs::read_dir(folder.path()).unwrap().count();
    let groups = 3; // usage-relay itself, quarantine and jobs
    assert_eq!(pages, leaves().len() + groups);
    assert_eq!(std::fs::read_to_string(folder.path().join("usage-relay.1")).unwrap(), first);
    // groff says what it does not understand, where there is groff.
    if let Some(shown) = fed("groff", &["-man", "-Tutf8", "-ww"], first.as_bytes()) {
        assert!(shown.status.success() && shown.stderr.is_empty(), "{shown:?}");
        assert!(text(&shown).contains("quarantine"), "{shown:?}");
    }
}
