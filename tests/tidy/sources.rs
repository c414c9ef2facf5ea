//! What the sources may name, and how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this has more than one purpose.
const LINES_MAX: usize = 500;

/// The template alone may have more: it is one stack, with 41 alarms at some 15 lines, its dashboard and its options. Nested stacks
/// would be several templates that have to be uploaded and named to each other, for the sake of this number.
const TEMPLATE_LINES_MAX: usize = 2_050;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file below `folder` with one of these endings; hidden folders and `target` are not ours.
pub(crate) fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && name != "target" {
                found.extend(files(&path, endings));
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Rust sources of what is shipped or runs on a laptop, with their text.
fn shipped() -> Vec<(PathBuf, String)> {
    let folders = ["functions", "crates"].into_iter().flat_map(|folder| files(&root().join(folder), &[".rs"]));
    let sources: Vec<_> = folders.map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect();
    assert!(sources.len() > 50, "found {} sources: are they elsewhere now?", sources.len());
    sources
}

fn is_named(path: &Path, name: &str) -> bool {
    path.file_name().is_some_and(|file| file == name)
}

#[test]
fn only_a_main_or_the_shell_names_the_lambda_runtime() {
    let naming: Vec<PathBuf> =
        shipped().into_iter().filter(|(_, text)| text.contains("lambda_runtime")).map(|(path, _)| path).collect();
    assert!(!naming.is_empty());
    for path in naming {
        let allowed = is_named(&path, "main.rs") || path.starts_with(root().join("crates/lambda-shell"));
        assert!(allowed, "expected {} not to name lambda_runtime", path.display());
    }
}

#[test]
fn only_a_config_reads_the_environment() {
    let readings = ["env::var", "env::vars", "env::set_var", "env::remove_var", "var_os("];
    let reading: Vec<PathBuf> = shipped()
        .into_iter()
        .filter(|(_, text)| readings.iter().any(|reading| text.contains(reading)))
        .map(|(path, _)| path)
        .collect();
    assert!(!reading.is_empty());
    for path in reading {
        assert!(is_named(&path, "config.rs"), "expected {} not to read the environment", path.display());
    }
}

#[test]
fn no_module_is_named_for_nothing() {
    let banned = ["utils", "util", "common", "shared", "helpers", "types", "misc"];
    for path in files(root(), &[".rs", ".py"]) {
        let parts = path.strip_prefix(root()).unwrap().with_extension("");
        let odd = parts.iter().find(|part| banned.iter().any(|name| *part == *name));
        assert_eq!(odd, None, "{}", path.display());
    }
}

#[test]
fn every_file_but_the_template_has_fewer_than_500_lines() {
    for path in files(root(), &[".rs", ".py", ".md", ".toml", ".yaml", ".sh"]) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        let most = if path == root().join("template.yaml") { TEMPLATE_LINES_MAX } else { LINES_MAX };
        assert!(lines < most, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_source_opens_with_what_it_is_for() {
    for (path, text) in shipped() {
        assert!(text.starts_with("//!"), "expected {} to open with a module doc", path.display());
    }
}
