//! `explain` and `rules check`.

use std::path::{Path, PathBuf};

use super::args::ExplainArgs;
use crate::lifecycle::LifecycleError;
use crate::remote::rules::explain::{Question, explain as answer};
use crate::remote::rules::{Rules, check as checks};

/// The answer, in lines.
pub(super) fn explain(args: ExplainArgs) -> Result<String, LifecycleError> {
    let rules = Rules::load(args.rules.as_deref(), args.syscalls.as_deref())?;
    let cwd = std::env::current_dir().map_err(LifecycleError::io("finding", "the working directory"))?;
    let mut words = args.words.into_iter();
    let question = Question {
        call: words.next().unwrap_or_default(),
        words: words.collect(),
        hosts: args.host,
        executable: args.executable.unwrap_or_else(|| PathBuf::from("/")),
        cwd,
    };
    answer(&rules, &question).map_err(LifecycleError::Refused)
}

/// What is wrong with a file's rules, a line for each; nothing: all is well.
pub(super) fn check(file: &Path) -> Result<String, LifecycleError> {
    let rules = Rules::load(Some(file), None)?;
    Ok(checks::check(&rules).iter().map(|finding| checks::describe(&rules, finding) + "\n").collect())
}
