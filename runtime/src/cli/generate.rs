//! Man pages and completions for shells, from the definition of the command line itself.

use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};

use super::args::{Cli, Generated};

/// The shim's page; its command line is containerd's, not one for people.
const SHIM: &str = r#".TH containerd-shim-rsc-v1 1
.SH NAME
containerd\-shim\-rsc\-v1 \- runs containers for containerd by rsc\-runtime
.SH SYNOPSIS
.B containerd\-shim\-rsc\-v1
\-namespace NAME \-address SOCKET \-id ID [\-bundle DIR] [\-debug] start|delete
.br
.B containerd\-shim\-rsc\-v1
\-v | \-info
.SH DESCRIPTION
containerd's runtime io.containerd.rsc.v1 (task API version 2), one process for all containers of a pod. containerd starts it; it must
be in containerd's PATH, or the runtime's path must name it. It calls rsc\-runtime, which is the BinaryName of its options, the one
beside it, or the first in PATH.
.SH OPTIONS
.TP
\-namespace NAME
containerd's namespace of the container
.TP
\-address SOCKET
containerd's own socket, where events go
.TP
\-id ID
the container
.TP
\-bundle DIR
its folder; by default the working directory
.TP
\-debug
say more
.TP
\-v
print a version
.TP
\-info
print what containerd asks a runtime about itself
.SH COMMANDS
.TP
start
start the shim of a container, or find its pod's, and print its address
.TP
delete
remove what a dead shim has left of a container
.SH SEE ALSO
.BR rsc\-runtime (1)
"#;

/// Writes `what` into the folder `dir`, which must exist.
pub(super) fn generate(what: Generated, dir: &Path) -> io::Result<()> {
    let shell = match what {
        Generated::Man => {
            std::fs::write(dir.join("containerd-shim-rsc-v1.1"), SHIM)?;
            return clap_mangen::generate_to(Cli::command(), dir);
        }
        Generated::Bash => Shell::Bash,
        Generated::Zsh => Shell::Zsh,
        Generated::Fish => Shell::Fish,
    };
    generate_to(shell, &mut Cli::command(), "rsc-runtime", dir).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_command() {
        let dir = tempfile::tempdir().unwrap();
        for what in [Generated::Man, Generated::Bash, Generated::Zsh, Generated::Fish] {
            generate(what, dir.path()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(read("rsc-runtime.1").contains("rsc"));
        assert!(read("rsc-runtime-create.1").contains("console"));
        assert!(read("containerd-shim-rsc-v1.1").contains("io.containerd.rsc.v1"));
        assert!(read("rsc-runtime.bash").contains("checkpoint"));
        assert!(read("_rsc-runtime").contains("checkpoint"));
    }
}
