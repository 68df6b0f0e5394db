//! Processes that are in the sentry's context (`remote --all`): what the sentry is told of them beside their specification.

use std::path::PathBuf;

use rsc_proto::v1;

use super::sandbox::{Export, Plan};

/// Where this machine's program is seen when the server has none of its name: in the sandbox's own `/dev`.
const PROGRAM_DIR: &str = "/dev/.rsc";

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InContext {
    /// User and groups are the sentry's own.
    pub own_user: bool,
    /// So are the standard streams.
    pub own_streams: bool,
    /// A program of this machine that is executed if the server has none of that name.
    pub program: Option<PathBuf>,
}

impl InContext {
    /// Completes the description of the sandbox.
    pub(super) fn complete(&self, sandbox: &mut v1::Sandbox) {
        sandbox.in_context = true;
        if let Some(process) = &mut sandbox.process {
            // Its first process only holds the sandbox, and must be in no directory that may be missing.
            "/".clone_into(&mut process.cwd);
            self.dress(process);
        }
    }

    /// Completes that of a process.
    pub(super) fn dress(&self, process: &mut v1::Process) {
        process.own_user = self.own_user;
        process.own_capabilities = true;
    }

    /// Its standard streams.
    pub(super) fn streams(&self, callers: Vec<v1::Stdio>) -> Vec<v1::Stdio> {
        if !self.own_streams {
            return callers;
        }
        vec![v1::Stdio { server: true, ..v1::Stdio::default() }; 3]
    }

    /// The same sandbox with this machine's program in it, and the path of that; none: there is no such program.
    pub(super) fn with_program(&self, plan: &Plan) -> Option<(Plan, String)> {
        let path = self.program.clone()?;
        let name = path.file_name()?.to_str()?;
        let destination = format!("{PROGRAM_DIR}/{name}");
        let mut plan = plan.clone();
        let source = u32::try_from(plan.exports.len()).ok().map(v1::mount::Source::Gofer);
        plan.sandbox.gofers.push(path.display().to_string());
        let options = ["ro", "nosuid", "nodev"].map(str::to_owned).to_vec();
        plan.sandbox.mounts.push(v1::Mount {
            destination: destination.clone(),
            r#type: "bind".to_owned(),
            options,
            source,
        });
        if let Some(first) = plan.sandbox.process.as_mut().and_then(|process| process.args.first_mut()) {
            first.clone_from(&destination);
        }
        plan.exports.push(Export { path, read_only: true });
        Some((plan, destination))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machines_program_is_mounted() {
        let process = v1::Process { args: vec!["tool".into(), "-x".into()], ..v1::Process::default() };
        let sandbox = v1::Sandbox { process: Some(process), ..v1::Sandbox::default() };
        let plan = Plan { sandbox, exports: Vec::new() };
        let none = InContext { own_user: true, own_streams: true, program: None };
        assert!(none.with_program(&plan).is_none());
        let some = InContext { program: Some("/usr/bin/tool".into()), ..none.clone() };
        let (plan, path) = some.with_program(&plan).unwrap();
        assert_eq!(path, "/dev/.rsc/tool");
        assert_eq!(plan.sandbox.process.unwrap().args, ["/dev/.rsc/tool", "-x"]);
        assert_eq!(plan.exports, [Export { path: "/usr/bin/tool".into(), read_only: true }]);
        assert_eq!(plan.sandbox.mounts[0].source, Some(v1::mount::Source::Gofer(0)));
        assert!(none.streams(Vec::new()).iter().all(|it| it.server));
    }
}
