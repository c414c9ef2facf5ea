#!/usr/bin/env bash
# What `make fuzz` runs: each TARGET for so many SECONDS, one after another, and says what came of it. cargo-fuzz must be on
# the PATH, and a nightly toolchain installed: coverage of the code under test is not in stable Rust.
#
# No sanitizer: the project forbids unsafe code, and what fuzzing looks for here are panics and broken promises, which are
# found faster without.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
seconds=${1:?expected: run.sh SECONDS TARGET...}
shift

learnt=../../.local/fuzz # grows with every run; corpus/ does not
failed=0
for target in "$@"; do
  mkdir -p "$learnt/$target"
  log=$learnt/$target.log
  outcome="no finding"
  cargo +nightly fuzz run --fuzz-dir . --sanitizer none --target-dir ../../target/fuzz "$target" "$learnt/$target" "corpus/$target" -- \
    -dict=words.dict -timeout=10 -max_total_time="$seconds" -print_final_stats=1 >"$log" 2>&1 || {
    failed=1
    artifact=$(grep -o 'Test unit written to .*' "$log" || true)
    if [ -n "$artifact" ]; then outcome="FINDING: ${artifact##* }"; else outcome="DID NOT RUN: $(tail -n 1 "$log")"; fi
  }
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
  edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  echo "$target: ${runs:-0} runs, ${rate:-0} a second, ${edges:-0} edges: $outcome (log: $(realpath "$log"))"
done
exit $failed
