//! Man pages and completions for shells, from the definition of the command line itself.

use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};

use super::args::{Cli, Generated};

/// Writes `what` into the folder `dir`, which must exist.
pub(super) fn generate(what: Generated, dir: &Path) -> io::Result<()> {
    let shell = match what {
        Generated::Man => return clap_mangen::generate_to(Cli::command(), dir),
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
        assert!(read("rsc-runtime.bash").contains("checkpoint"));
        assert!(read("_rsc-runtime").contains("checkpoint"));
    }
}
