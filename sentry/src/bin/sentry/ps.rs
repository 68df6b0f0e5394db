//! `sentry ps`: the sessions of a running sentry.

use crate::args::{Format, PsArgs};
use anyhow::Context as _;
use rsc_proto::v1::control_client::ControlClient;
use rsc_proto::v1::{ListSessionsRequest, SessionInfo};
use std::fmt::Write as _;
use std::io::Write as _;

pub(crate) fn run(args: &PsArgs) -> anyhow::Result<()> {
    let dialer = args.dialer()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sessions = runtime.block_on(async {
        let mut control = ControlClient::new(dialer.channel().await?);
        let reply = control.list_sessions(dialer.request(ListSessionsRequest {})).await;
        let reply =
            reply.map_err(|e| anyhow::anyhow!("the sentry at {dialer} refuses to list sessions: {}", e.message()))?;
        anyhow::Ok(reply.into_inner().sessions)
    })?;
    let text = match args.format {
        Format::Table => table(&sessions),
        Format::Json => json(&sessions)?,
    };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write the list")
}

fn table(sessions: &[SessionInfo]) -> String {
    let mut text =
        format!("{:<34}{:<24}{:<24}{:<11}{:>6}{:>12}\n", "SESSION", "SANDBOX", "PEER", "STATE", "TASKS", "CALLS");
    for s in sessions {
        // Names come from elsewhere: no control characters to the terminal.
        let clean = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
        let (sandbox, peer) = (clean(&s.sandbox), clean(&s.peer));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<34}{sandbox:<24}{peer:<24}{:<11}{:>6}{:>12}", s.id, s.state, s.tasks, s.calls);
    }
    text
}

fn json(sessions: &[SessionInfo]) -> anyhow::Result<String> {
    let list: Vec<_> = sessions
        .iter()
        .map(|s| {
            serde_json::json!({
                "id": s.id,
                "sandbox": s.sandbox,
                "peer": s.peer,
                "state": s.state,
                "tasks": s.tasks,
                "calls": s.calls,
                "started": s.started_unix,
                "counts": s.counts,
                "unimplemented": s.unimplemented,
                "unlisted": s.unlisted,
                "denied": s.denied,
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&list)? + "\n")
}
