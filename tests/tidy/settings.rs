//! One set of settings: config.rs, template.yaml and the README's table say the same.
//!
//! The template is read line by line. That is enough for a file that a linter holds to its shape, and every reading here
//! fails when it finds nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ingest_relay::config::{Config, SETTINGS};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)).unwrap()
}

/// The lines below `heading`, which stands alone on its line, down to the next line that is indented no deeper.
fn below<'t>(text: &'t str, heading: &str) -> Vec<&'t str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|line| *line != heading).skip(1).peekable();
    assert!(lines.peek().is_some(), "expected a line {heading:?}");
    lines.take_while(|line| line.trim().is_empty() || indent(line) > indent(heading)).collect()
}

/// `Key: value` lines of one indent, comments dropped.
fn pairs<'t>(lines: &[&'t str], indent: usize) -> BTreeMap<&'t str, &'t str> {
    let one = |line: &&'t str| {
        let rest = line.strip_prefix(&" ".repeat(indent))?;
        let (key, value) = rest.split_once(':')?;
        let named = key.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') && !key.is_empty();
        named.then(|| (key, value.split(" #").next().unwrap_or_default().trim().trim_matches('"')))
    };
    lines.iter().filter_map(one).collect()
}

/// What the template gives the function.
fn environment(template: &str) -> BTreeMap<&str, &str> {
    environment_of(template, "Function")
}

fn environment_of<'t>(template: &'t str, function: &str) -> BTreeMap<&'t str, &'t str> {
    let start = template.find(&format!("\n  {function}:\n")).unwrap();
    pairs(&below(&template[start..], "        Variables:"), 10)
}

/// `M3TER_API_URL` is M3terApiUrl.
fn parameter_of(setting: &str) -> String {
    let word = |word: &str| word[..1].to_owned() + &word[1..].to_lowercase();
    setting.split('_').map(word).collect()
}

/// The settings that come from resources of the stack, and how.
const MADE_BY_THE_STACK: [(&str, &str); 3] =
    [("M3TER_SECRET_ARN", "!GetAtt Secret.Id"), ("STORE_URL", "!Sub s3://${StoreBucket}/relay"), ("QUEUE_URL", EITHER_QUEUE)];

/// The queue's address: the stack's own, or what follows from the ARN of one that was there before.
const EITHER_QUEUE: &str = concat!(
    r#"!If [MakesQueue, !Ref Queue, !Sub ["https://sqs.${AWS::Region}.${AWS::URLSuffix}/${Account}/${Name}", "#,
    r#"{ Account: !Select [4, !Split [":", !Sub "${ExistingQueueArn}:::::"]], "#,
    r#"Name: !Select [5, !Split [":", !Sub "${ExistingQueueArn}:::::"]] }]]"#
);

#[test]
fn the_template_gives_every_setting_and_no_other() {
    let template = read("template.yaml");
    // What glibc reads is no setting of ours.
    let given: Vec<&str> = environment(&template).into_keys().filter(|name| !name.starts_with("MALLOC_")).collect();
    let mut settings: Vec<&str> = SETTINGS.iter().map(|(name, _)| *name).collect();
    settings.sort_unstable();
    assert_eq!(given, settings);
}

#[test]
fn each_setting_comes_from_its_parameter_with_the_same_default() {
    let template = read("template.yaml");
    let environment = environment(&template);
    for (setting, default) in SETTINGS {
        if let Some((_, value)) = MADE_BY_THE_STACK.iter().find(|(name, _)| *name == setting) {
            assert_eq!((environment[setting], default), (*value, None));
            continue;
        }
        let parameter = parameter_of(setting);
        assert_eq!(environment[setting], format!("!Ref {parameter}"));
        let described = pairs(&below(&template, &format!("  {parameter}:")), 4);
        assert_eq!(described.get("Default").copied(), default, "the default of {parameter}");
        assert!(described.contains_key("Description"), "{parameter}");
    }
}

/// Whether the function would start with this setting.
fn starts_with(setting: &str, value: &str) -> bool {
    let good = |name: &str| match name {
        "M3TER_ORG_ID" => Some("org-1"),
        "M3TER_SECRET_ARN" => Some("arn:aws:secretsmanager:eu-west-1:123456789012:secret:m3ter"),
        "STORE_URL" => Some("s3://bucket/relay"),
        "QUEUE_URL" => Some("https://sqs.eu-west-1.amazonaws.com/123456789012/usage"),
        _ => None,
    };
    Config::from_vars(|name| if name == setting { Some(value.into()) } else { good(name).map(str::to_owned) }).is_ok()
}

#[test]
fn what_the_template_allows_the_function_takes_and_the_next_it_refuses() {
    let template = read("template.yaml");
    let mut ranges = 0;
    for (setting, _) in SETTINGS {
        let parameter = parameter_of(setting);
        if MADE_BY_THE_STACK.iter().any(|(name, _)| *name == setting) {
            continue;
        }
        let described = pairs(&below(&template, &format!("  {parameter}:")), 4);
        if let (Some(least), Some(most)) = (described.get("MinValue"), described.get("MaxValue")) {
            let (least, most): (i64, i64) = (least.parse().unwrap(), most.parse().unwrap());
            let taken = [least - 1, least, most, most + 1].map(|value| starts_with(setting, &value.to_string()));
            assert_eq!(taken, [false, true, true, false], "{parameter} from {least} to {most}");
            ranges += 1;
        }
        if let Some(values) = described.get("AllowedValues") {
            let values: Vec<&str> =
                values.trim_matches(['[', ']']).split(',').map(|value| value.trim().trim_matches('"')).collect();
            assert!(values.iter().all(|value| starts_with(setting, value)), "{parameter}: {values:?}");
            assert!(!starts_with(setting, "something-else"), "{parameter}");
            ranges += 1;
        }
    }
    assert_eq!(ranges, 8, "settings with a range or a choice");
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = read("README.md");
    let row = |setting: &str| {
        let found = readme.lines().find(|line| line.starts_with(&format!("| `{setting}` |")));
        let cells = found.unwrap_or_else(|| panic!("expected a row for {setting} in the README")).split('|');
        cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>()
    };
    for (setting, default) in SETTINGS {
        let cells = row(setting);
        let made = MADE_BY_THE_STACK.iter().any(|(name, _)| *name == setting);
        let parameter = if made { "made by the stack".to_owned() } else { parameter_of(setting) };
        let expected = default.unwrap_or(if made { "" } else { "required" });
        assert_eq!((cells[2].as_str(), cells[3].as_str()), (parameter.as_str(), expected), "{setting}");
    }
    let rows =
        readme.lines().filter(|line| line.starts_with("| `") && line.contains("` |")).filter_map(|line| line.split('`').nth(1));
    let settings: Vec<&str> =
        rows.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())).collect();
    assert_eq!(settings, SETTINGS.map(|(name, _)| name), "in the order of config.rs, and no other");
}

#[test]
fn the_readme_says_which_settings_the_other_functions_have() {
    let (template, readme) = (read("template.yaml"), read("README.md"));
    let (_, told) = readme.split_once("\nOf these `dead-letter` has ").expect("a sentence about the other functions");
    let (told, _) = told.split_once(". ").unwrap();
    let (dead_letter, rest) = told.split_once("`ingest-watch` also").unwrap();
    let (watch, upload) = rest.split_once("`bulk-upload` besides those").unwrap();
    let mut said = Vec::new();
    for (function, more) in [("DeadLetterFunction", dead_letter), ("IngestWatchFunction", watch), ("BulkUploadFunction", upload)]
    {
        let is_setting = |word: &&str| word.len() > 4 && word.chars().all(|c| c.is_ascii_uppercase() || matches!(c, '_' | '3'));
        said.extend(more.split('`').filter(is_setting));
        said.sort_unstable();
        let given: Vec<&str> =
            environment_of(&template, function).into_keys().filter(|name| !name.starts_with("MALLOC_")).collect();
        assert_eq!(said, given, "{function}: each has what those before it have");
    }
}

/// The parameters of the template, in its order.
fn parameters(template: &str) -> Vec<&str> {
    let lines = below(template, "Parameters:");
    let named = lines.iter().filter(|line| line.starts_with("  ") && !line.starts_with("   ") && !line.starts_with("  #"));
    named.filter_map(|line| line.trim().strip_suffix(':')).collect()
}

#[test]
fn the_readme_lists_every_parameter_with_its_default() {
    let (template, readme) = (read("template.yaml"), read("README.md"));
    let table: Vec<Vec<&str>> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| variable | parameter |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let mut listed: Vec<&str> = table.iter().map(|cells| cells[2]).filter(|name| *name != "made by the stack").collect();
    for cells in table.iter().filter(|cells| cells[1].is_empty()) {
        let described = pairs(&below(&template, &format!("  {}:", cells[2])), 4);
        assert_eq!(Some(cells[3]), described.get("Default").copied(), "the default of {}", cells[2]);
    }
    let mut expected = parameters(&template);
    assert!(expected.len() > 20, "expected the parameters of the template, found {expected:?}");
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}
