//! Who imports whom, and what is linked into what is shipped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand};

/// What is shipped to Lambda.
const FUNCTIONS: [&str; 4] = ["bulk-upload", "dead-letter", "ingest-relay", "ingest-watch"];
const CORE: [&str; 4] = ["m3ter-client", "relay", "relay-core", "relay-store"];

/// What each package of the workspace may import of the others. A new one gets a line here.
fn may_import(package: &str, is_function: bool) -> BTreeSet<&'static str> {
    match package {
        "relay-core" | "m3ter-sandbox" | "bench-floor" | "bench-hello" => [].into(),
        "m3ter-client" | "relay-store" | "files" => ["relay-core"].into(),
        "relay" => ["m3ter-client", "relay-core", "relay-store"].into(),
        "usage-relay" => CORE.into_iter().chain(["files", "recovery", "upload", "watch", "m3ter-sandbox"]).collect(),
        "recovery" => ["relay-core", "relay-store"].into(),
        "lambda-shell" => ["m3ter-client", "relay-core", "relay-store"].into(),
        "watch" => ["m3ter-client", "recovery", "relay-core", "relay-store"].into(),
        "upload" => ["files", "m3ter-client", "relay-core", "relay-store"].into(),
        // These two share their jobs with the command line.
        "ingest-watch" => CORE.into_iter().chain(["lambda-shell", "watch"]).collect(),
        "bulk-upload" => ["lambda-shell", "m3ter-client", "relay-core", "relay-store", "upload"].into(),
        _ if is_function => CORE.into_iter().chain(["lambda-shell"]).collect(),
        other => panic!("expected a line that says what {other} may import"),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What the manifests say; dependencies are not resolved.
fn workspace() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps().other_options(["--offline", "--locked"].map(String::from));
    command.exec().unwrap()
}

/// Of each package: whether it is a function, and what it imports of the workspace, by tests too.
fn imports() -> BTreeMap<String, (bool, BTreeSet<String>)> {
    let workspace = workspace();
    let ours: BTreeSet<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
    let of = |package: &cargo_metadata::Package| {
        let is_function = package.manifest_path.as_std_path().starts_with(root().join("functions"));
        let imported = package.dependencies.iter().map(|dependency| dependency.name.clone());
        (package.name.to_string(), (is_function, imported.filter(|name| ours.contains(name.as_str())).collect()))
    };
    workspace.packages.iter().map(of).collect()
}

/// Names and versions of everything that is linked into `package` on this platform, exactly as cargo builds it.
fn linked(package: &str) -> BTreeMap<String, BTreeSet<String>> {
    let arguments = ["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package"];
    let told = Command::new(env!("CARGO")).args(arguments).arg(package).current_dir(root()).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let mut linked: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8(told.stdout).unwrap().lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            linked.entry(name.into()).or_default().insert(version.into());
        }
    }
    linked
}

#[test]
fn each_package_imports_only_what_lies_below_it() {
    for (package, (is_function, imported)) in imports() {
        if package == "relay-tests" {
            continue; // may import all
        }
        let allowed = may_import(&package, is_function);
        for name in imported {
            assert!(allowed.contains(name.as_str()), "expected {package} not to import {name}");
        }
    }
}

#[test]
fn nobody_imports_a_function_the_command_line_or_the_tests() {
    let imports = imports();
    let functions = imports.iter().filter(|(_, (is_function, _))| *is_function).map(|(name, _)| name.as_str());
    let functions: Vec<&str> = functions.collect();
    assert_eq!(functions, FUNCTIONS);
    let ends: BTreeSet<&str> = functions.into_iter().chain(["usage-relay", "relay-tests"]).collect();
    for (package, (_, imported)) in imports.iter().filter(|(package, _)| *package != "relay-tests") {
        assert!(imported.iter().all(|name| !ends.contains(name.as_str())), "{package} imports {imported:?}");
    }
}

#[test]
fn only_functions_import_what_every_function_needs() {
    for (package, (is_function, imported)) in imports() {
        let allowed = is_function || package == "relay-tests";
        assert!(allowed || !imported.contains("lambda-shell"), "expected {package} not to import lambda-shell");
    }
}

#[test]
fn only_functions_and_their_shell_depend_on_the_lambda_runtime() {
    let workspace = workspace();
    let dependent =
        workspace.packages.iter().filter(|package| package.dependencies.iter().any(|one| one.name == "lambda_runtime"));
    for package in dependent {
        let manifest = package.manifest_path.as_std_path();
        let allowed =
            ["functions", "crates/lambda-shell", "tests"].iter().any(|folder| manifest.starts_with(root().join(folder)));
        assert!(allowed, "expected {} not to depend on lambda_runtime", package.name);
    }
}

#[test]
fn the_core_is_linked_with_nothing_that_waits_speaks_or_logs() {
    let linked = linked("relay-core");
    assert!(linked.contains_key("relay-core"));
    let exact =
        ["tokio", "async-trait", "reqwest", "hyper", "http", "object_store", "rustls", "tracing", "log", "rand", "fastrand"];
    let families = ["aws-", "lambda", "futures", "tokio-"];
    for name in linked.keys() {
        let banned = exact.contains(&name.as_str()) || families.iter().any(|family| name.starts_with(family));
        assert!(!banned, "expected relay-core not to be linked with {name}");
    }
}

#[test]
fn the_sandbox_shares_no_reading_of_m3ters_rules_with_the_relay() {
    let linked = linked("m3ter-sandbox");
    let ours = imports();
    let shared: Vec<&String> = linked.keys().filter(|name| ours.contains_key(*name) && *name != "m3ter-sandbox").collect();
    assert!(shared.is_empty(), "{shared:?}");
}

#[test]
fn a_function_has_one_tls_stack_one_crypto_provider_and_one_version_of_each_part_of_http() {
    for function in FUNCTIONS {
        let linked = linked(function);
        for banned in ["ring", "native-tls", "openssl", "openssl-sys", "boring", "aws-lc-fips-sys", "rustls-pemfile"] {
            assert!(!linked.contains_key(banned), "expected {banned} not to be linked into {function}");
        }
        for single in ["rustls", "tokio-rustls", "hyper-rustls", "aws-lc-rs", "aws-lc-sys", "hyper", "reqwest", "http", "tokio"] {
            let versions = linked.get(single);
            let versions = versions.unwrap_or_else(|| panic!("expected {single} to be linked: is this rule still about it?"));
            assert_eq!(versions.len(), 1, "{function}: {single}: {versions:?}");
        }
    }
}

#[test]
fn what_keeps_dead_letters_is_linked_with_nothing_that_reads_them_or_speaks_to_m3ter() {
    let linked = linked("dead-letter");
    assert!(linked.contains_key("relay-store"));
    for banned in ["m3ter-client", "relay", "aws-sdk-sqs", "aws-sdk-secretsmanager"] {
        assert!(!linked.contains_key(banned), "expected {banned} not to be linked");
    }
}

#[test]
fn what_fetches_m3ters_later_answer_is_linked_with_nothing_that_sends() {
    let linked = linked("ingest-watch");
    assert!(linked.contains_key("watch") && linked.contains_key("m3ter-client"));
    for banned in ["relay", "aws-sdk-sqs"] {
        assert!(!linked.contains_key(banned), "expected {banned} not to be linked");
    }
}

#[test]
fn what_is_shipped_is_linked_with_no_sandbox_and_no_command_line() {
    for function in FUNCTIONS {
        let linked = linked(function);
        for banned in ["m3ter-sandbox", "usage-relay", "axum", "clap", "indicatif", "parquet", "csv"] {
            // Files are its affair, but for the format that takes megabytes of code.
            let is_needed = banned == "csv" && function == "bulk-upload";
            assert_eq!(linked.contains_key(banned), is_needed, "{banned}, in {function}");
        }
    }
}

#[test]
fn what_sends_files_is_linked_with_nothing_that_walks_or_watches() {
    let linked = linked("bulk-upload");
    assert!(linked.contains_key("upload") && linked.contains_key("m3ter-client"));
    for banned in ["relay", "watch", "recovery"] {
        assert!(!linked.contains_key(banned), "expected {banned} not to be linked");
    }
}
