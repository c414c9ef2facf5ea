//! What every command owes its user, held against the tree of all of them: a new command cannot forget it.

use super::*;

/// Every command that does something, with the words that call it.
fn leaves(tree: &clap::Command, above: &[String]) -> Vec<(Vec<String>, clap::Command)> {
    let words: Vec<String> = above.iter().cloned().chain([tree.get_name().to_owned()]).collect();
    let below: Vec<_> = tree.get_subcommands().flat_map(|one| leaves(one, &words)).collect();
    if tree.has_subcommands() { below } else { vec![(words, tree.clone())] }
}

/// Every command, those with others below them too.
fn all(tree: &clap::Command, above: &[String]) -> Vec<(Vec<String>, clap::Command)> {
    let words: Vec<String> = above.iter().cloned().chain([tree.get_name().to_owned()]).collect();
    let below: Vec<_> = tree.get_subcommands().flat_map(|one| all(one, &words)).collect();
    std::iter::once((words, tree.clone())).chain(below).collect()
}

/// The tree, where what the environment may bring need not stand on the command line.
fn lenient(tree: clap::Command) -> clap::Command {
    let from_environment = |argument: clap::Arg| match argument.get_env() {
        Some(_) => argument.required(false),
        None => argument,
    };
    tree.mut_args(from_environment).mut_subcommands(lenient)
}

/// The commands of an example as a shell would see them: each is its words. Knows quotes, comments, pipes, redirections, lines that
/// go on, and the variables that examples use.
fn commands(example: &str) -> Vec<Vec<String>> {
    let (mut done, mut words, mut word): (Vec<Vec<String>>, Vec<String>, Option<String>) = (Vec::new(), Vec::new(), None);
    let (mut quote, mut is_target) = (None, false);
    let mut characters = example.chars().peekable();
    let end_word = |word: &mut Option<String>, words: &mut Vec<String>, is_target: &mut bool| {
        if let Some(word) = word.take()
            && !std::mem::take(is_target)
        {
            words.push(word);
        }
    };
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '\n') => end_word(&mut word, &mut words, &mut is_target),
            (None, '|' | '&' | ';') => {
                end_word(&mut word, &mut words, &mut is_target);
                done.push(std::mem::take(&mut words));
            }
            (None, '>') => {
                end_word(&mut word, &mut words, &mut is_target);
                is_target = true;
                if characters.peek() == Some(&'>') {
                    characters.next();
                }
            }
            (None | Some('"'), '$') => {
                let mut name = String::new();
                while let Some(one) = characters.next_if(|one| one.is_ascii_alphanumeric() || *one == '_') {
                    name.push(one);
                }
                word.get_or_insert_default().push_str(variable(&name));
            }
            (None | Some(_), _) => word.get_or_insert_default().push(character),
        }
    }
    end_word(&mut word, &mut words, &mut is_target);
    done.push(words);
    done.retain(|words| !words.is_empty());
    done
}

fn variable(name: &str) -> &'static str {
    match name {
        "QUEUE_URL" => "https://sqs.eu-west-1.amazonaws.com/123456789012/usage",
        "DEAD_LETTER_QUEUE_URL" => "https://sqs.eu-west-1.amazonaws.com/123456789012/dead",
        "STORE_URL" => "s3://bucket/relay",
        "ORG_ID" => "org-1",
        "FUNCTION" => "usage-relay-Function-1",
        "URL" | "PROFILE" => "http://127.0.0.1:8080",
        "QID" => "5b0c2d2c-7a0e-5a51-9c55-0a4c3b1f1e11",
        other => panic!("expected an example to use a variable that this test knows, found ${other}: give it a value here"),
    }
}

/// The examples in a help text: what is indented below `Examples:`, with lines that go on put together.
fn examples(help: &str) -> Vec<String> {
    let below = help.lines().skip_while(|line| *line != "Examples:").skip(1).take_while(|line| line.starts_with("  "));
    let joined = below.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    joined.lines().map(str::to_owned).collect()
}

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn every_command_has_examples_of_itself_and_each_of_them_is_a_command_line_that_is_right() {
    let lenient = lenient(command());
    for (words, tree) in all(&command(), &[]) {
        let help = tree.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = examples(&help);
        let typed = words.join(" ");
        assert!(
            !lines.is_empty(),
            "expected the after_help of `{typed}` to have a line `Examples:`, and indented examples below it"
        );
        let ours: Vec<_> = lines.iter().flat_map(|line| commands(line)).filter(|line| line[0] == "usage-relay").collect();
        assert!(
            ours.iter().any(|example| example.starts_with(&words)),
            "expected one of the examples of `{typed}` to be of itself, found {ours:?}"
        );
        for example in ours {
            if let Err(error) = lenient.clone().try_get_matches_from(&example) {
                panic!("expected the example of `{typed}` to be right: {example:?}: {error}");
            }
        }
    }
}

/// Commands that print no report: what they print is a script, or a text for a pager.
const NO_REPORT: [&str; 2] = ["usage-relay completions", "usage-relay man"];

#[test]
fn every_command_that_reports_can_report_in_json() {
    for (words, tree) in leaves(&command(), &[]) {
        let typed = words.join(" ");
        let has = tree.get_arguments().any(|argument| argument.get_long() == Some("json"));
        assert_eq!(has, !NO_REPORT.contains(&typed.as_str()), "expected `{typed}` to have --json, or to stand in NO_REPORT");
    }
}

#[test]
fn every_command_says_how_it_ends() {
    for (words, tree) in leaves(&command(), &[]) {
        let help = tree.get_after_help().map(ToString::to_string).unwrap_or_default();
        let (_, codes) = help.split_once("Exit codes: 0 ").unwrap_or_default();
        assert!(codes.contains("; 64 "), "expected the after_help of {words:?} to say `Exit codes: 0 …; 64 …`, found {codes:?}");
    }
}

#[test]
fn an_example_is_not_broken_over_lines_on_a_terminal_of_120_columns() {
    for (words, tree) in all(&command(), &[]) {
        let help = tree.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter(|line| line.starts_with("  ")) {
            assert!(line.chars().count() <= 120, "expected {words:?} to have no example over 120 columns: {line}");
        }
    }
}

#[test]
fn every_command_and_every_flag_says_what_it_is() {
    for (words, tree) in all(&command(), &[]) {
        assert!(tree.get_about().is_some(), "expected {words:?} to have a first line of help");
        for argument in tree.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty(), "expected {words:?} to say what {} is", argument.get_id());
        }
    }
}

#[test]
fn an_example_is_read_as_a_shell_reads_it() {
    let one = "zcat a.gz | usage-relay check - --x \"$STORE_URL\" 'b c' > out && usage-relay man    # done";
    let expected =
        [&["zcat", "a.gz"][..], &["usage-relay", "check", "-", "--x", "s3://bucket/relay", "b c"], &["usage-relay", "man"]];
    assert_eq!(commands(one), expected);
    assert_eq!(examples("Text\n\nExamples:\n  a \\\n      b\n  c\n\nmore"), ["  a        b", "  c"]);
    assert_eq!(examples("Example:\n  a"), Vec::<String>::new());
}

#[test]
fn variables_that_stand_for_flags_are_found_below_every_command() {
    let found = variables(&command());
    for name in ["STORE_URL", "M3TER_ORG_ID", "M3TER_API_URL"] {
        assert!(found.contains(name), "{found:?}");
    }
}
