//! Descriptors 0, 1, 2 and more of a process that comes from outside, and the terminal that it may have.

use std::rc::Rc;

use rsc_proto::v1;

use crate::fs::pseudo::Node;
use crate::kernel::Kernel;
use crate::kernel::file::File;
use crate::kernel::stdio::{StdioFile, open_console};
use crate::tty::devpts::DevPts;
use crate::tty::{Line, NODE_MODE, Terminal};
use crate::vfs::Inode;

/// Files for the descriptors from 0 on.
type Files = Vec<Option<Rc<File>>>;
/// 0, 1 and 2: only these can be the process's terminal.
const STREAMS: usize = 3;

/// The caller's descriptors as files, numbered from `base` on in requests to the compute host.
pub(super) async fn open_stdio(
    kernel: &Kernel,
    process: &v1::Process,
    about: &[v1::Stdio],
    base: u32,
) -> Result<(Files, Option<Rc<Terminal>>), String> {
    let plain = |about: &v1::Stdio, index: u32| {
        (!about.closed).then(|| StdioFile::open(kernel.host.clone(), index, *about, kernel.new_ino()))
    };
    let (streams, others) = about.split_at(about.len().min(STREAMS));
    let mut files: Files = Vec::new();
    let mut terminal = None;
    if process.terminal && streams.iter().any(|about| about.tty && !about.closed) {
        let (opened, its) = console(kernel, process, streams, base).await?;
        files.extend(opened);
        terminal = Some(its);
    } else {
        files.extend(streams.iter().zip(base..).map(|(about, index)| plain(about, index)));
    }
    files.extend(others.iter().zip(base.saturating_add(STREAMS as u32)..).map(|(about, index)| plain(about, index)));
    Ok((files, terminal))
}

async fn console(
    kernel: &Kernel,
    process: &v1::Process,
    about: &[v1::Stdio],
    base: u32,
) -> Result<(Vec<Option<Rc<File>>>, Rc<Terminal>), String> {
    let devpts = kernel.vfs.devpts().await;
    let make = |number: u32, node: Node, line: Box<dyn Line>| Terminal::new(number, node, line);
    let mut number = None;
    let enter = |line: Box<dyn Line>| match &devpts {
        Some(devpts) => {
            let terminal = devpts.add(process.uid, process.gid, |number, node| make(number, node, line))?;
            number = Some(terminal.number);
            let inode = devpts.slave(terminal.number)?;
            Ok((terminal, inode))
        }
        // A tree without devpts: the terminal has no name.
        None => {
            let node = || Node::new(kernel.vfs.new_dev(), 3, NODE_MODE).owned(process.uid, process.gid);
            let terminal = make(0, node(), line);
            let inode: Rc<dyn Inode> = DevPts::nameless(&terminal);
            Ok((terminal, inode))
        }
    };
    let opened = open_console(&kernel.host, about, base, base == 0, enter);
    let (terminal, ops) = opened.map_err(|errno| format!("making the terminal: {errno}"))?;
    let at = match number {
        Some(number) => kernel.vfs.terminal_at(number).await,
        None => None,
    };
    if let (Some(at), 0) = (&at, base) {
        kernel.vfs.show_console(at).await.map_err(|error| error.to_string())?;
    }
    kernel.consoles.borrow_mut().retain(|_, console| console.strong_count() > 0);
    kernel.consoles.borrow_mut().insert(base, Rc::downgrade(&terminal));
    let files = ops.into_iter().zip(about).map(|(ops, about)| {
        let at = if about.tty { at.clone() } else { None };
        ops.map(|ops| File::with_location(ops, StdioFile::flags(about), at))
    });
    Ok((files.collect(), terminal))
}
