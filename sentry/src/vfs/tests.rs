//! Walks, names and permissions over a tmpfs.

use rsc_proto::abi::{OpenFlags, ResolveFlags};

use super::inode::RenameMode;
use super::names::rename;
use super::open::Opening;
use super::*;
use crate::fs::tmpfs::{TmpFs, TmpfsOptions};
use crate::kernel::credentials::Credentials;
use crate::kernel::testing::FakeHost;
use permission::tests::creds;

struct World {
    vfs: Rc<Vfs>,
    creds: Credentials,
    cwd: Location,
}

impl World {
    fn new() -> Self {
        let host = FakeHost::new(4096);
        let root = TmpFs::new(1, host.clone(), TmpfsOptions { mode: 0o755, ..Default::default() });
        let vfs = Vfs::new(host, root, MountFlags::empty());
        let cwd = vfs.root();
        Self { vfs, creds: creds(0, u64::MAX), cwd }
    }

    fn walker(&self, follow: bool) -> Walker<'_> {
        Walker {
            vfs: &self.vfs,
            creds: Rc::new(self.creds.clone()),
            root: self.vfs.root(),
            start: self.cwd.clone(),
            follow,
            resolve: ResolveFlags::empty(),
            asker: Asker::default(),
        }
    }

    async fn mkdir(&self, path: &str) -> Result<Location, Errno> {
        self.walker(false).make(path.as_bytes(), 0o040_777, 0o22, 0, b"").await
    }

    async fn symlink(&self, target: &str, path: &str) -> Result<Location, Errno> {
        self.walker(false).make(path.as_bytes(), 0o120_777, 0, 0, target.as_bytes()).await
    }

    async fn touch(&self, path: &str) -> Result<(), Errno> {
        match self.walker(true).open(path.as_bytes(), OpenFlags::O_CREAT, 0o666, 0o22).await? {
            Opening::Done(_) => Ok(()),
            Opening::Fifo(_) => Err(Errno::EIO),
        }
    }

    async fn stat(&self, path: &str) -> Result<Attr, Errno> {
        Ok(self.walker(true).resolve(path.as_bytes()).await?.0.inode().attr())
    }

    async fn mv(&self, from: &str, to: &str, how: RenameMode) -> Result<(), Errno> {
        let w = self.walker(false);
        rename(&w, from.as_bytes(), &w, to.as_bytes(), how).await
    }
}

#[tokio::test]
async fn paths() {
    let w = World::new();
    w.mkdir("/a").await.unwrap();
    w.mkdir("/a/b/").await.unwrap();
    w.touch("/a/b/f").await.unwrap();
    w.symlink("../b/f", "/a/b/l").await.unwrap();
    w.symlink("/a/b/", "/d").await.unwrap();
    w.symlink("loop", "/loop").await.unwrap();
    assert!(w.stat("/d/l").await.unwrap().is_regular());
    assert!(w.stat("//a/./b/../b/f").await.unwrap().is_regular());
    assert_eq!(w.stat("/a/b/f/").await.unwrap_err(), Errno::ENOTDIR);
    assert_eq!(w.stat("/a/b/f/.").await.unwrap_err(), Errno::ENOTDIR);
    assert_eq!(w.stat("/a/b/f/..").await.unwrap_err(), Errno::ENOTDIR);
    assert_eq!(w.stat("/a/x").await.unwrap_err(), Errno::ENOENT);
    assert_eq!(w.stat("/a/x/y").await.unwrap_err(), Errno::ENOENT);
    assert_eq!(w.stat("/loop").await.unwrap_err(), Errno::ELOOP);
    assert_eq!(w.stat(&format!("/{}", "n".repeat(256))).await.unwrap_err(), Errno::ENAMETOOLONG);
    assert!(w.stat("/../..").await.unwrap().is_dir());
    let (at, _) = w.walker(true).resolve(b"/d").await.unwrap();
    assert_eq!(w.vfs.path_of(&at, &w.vfs.root()), (b"/a/b".to_vec(), true));
    assert!(w.walker(false).resolve(b"/d").await.unwrap().0.inode().attr().is_symlink());
    assert!(w.walker(false).resolve(b"/d/").await.unwrap().0.inode().attr().is_dir());
}

#[tokio::test]
async fn creation_through_a_dangling_link() {
    let w = World::new();
    w.mkdir("/a").await.unwrap();
    w.symlink("a/new", "/l").await.unwrap();
    w.touch("/l").await.unwrap();
    assert!(w.stat("/a/new").await.unwrap().is_regular());
    assert_eq!(w.touch("/a/").await.unwrap_err(), Errno::EISDIR);
    assert_eq!(w.touch("/a").await.unwrap_err(), Errno::EISDIR);
    let excl = OpenFlags::O_CREAT | OpenFlags::O_EXCL;
    assert_eq!(w.walker(false).open(b"/l", excl, 0o600, 0).await.err(), Some(Errno::EEXIST));
    assert_eq!(w.mkdir("/l").await.unwrap_err(), Errno::EEXIST);
    assert_eq!(w.mkdir("/").await.unwrap_err(), Errno::EEXIST);
}

#[tokio::test]
async fn removal() {
    let w = World::new();
    w.mkdir("/a").await.unwrap();
    w.touch("/a/f").await.unwrap();
    let n = w.walker(false);
    assert_eq!(n.rmdir(b"/a").await.unwrap_err(), Errno::ENOTEMPTY);
    assert_eq!(n.rmdir(b"/a/f").await.unwrap_err(), Errno::ENOTDIR);
    assert_eq!(n.unlink(b"/a").await.unwrap_err(), Errno::EISDIR);
    assert_eq!(n.unlink(b"/a/f/").await.unwrap_err(), Errno::ENOTDIR);
    assert_eq!(n.rmdir(b"/a/.").await.unwrap_err(), Errno::EINVAL);
    assert_eq!(n.rmdir(b"/").await.unwrap_err(), Errno::EBUSY);
    n.unlink(b"/a/f").await.unwrap();
    let (a, _) = n.resolve(b"/a").await.unwrap();
    n.rmdir(b"/a").await.unwrap();
    assert_eq!(w.vfs.cwd_path(&a, &w.vfs.root()), Err(Errno::ENOENT));
    assert_eq!(w.vfs.display_path(&a, &w.vfs.root()), b"/a (deleted)");
}

#[tokio::test]
async fn renames() {
    let w = World::new();
    for d in ["/a", "/b", "/a/c"] {
        w.mkdir(d).await.unwrap();
    }
    w.touch("/f").await.unwrap();
    let plain = RenameMode::Replace;
    assert_eq!(w.mv("/a", "/a/c/x", plain).await.unwrap_err(), Errno::EINVAL);
    assert_eq!(w.mv("/a/c", "/a", plain).await.unwrap_err(), Errno::ENOTEMPTY);
    assert_eq!(w.mv("/f", "/b", plain).await.unwrap_err(), Errno::EISDIR);
    assert_eq!(w.mv("/b", "/f", plain).await.unwrap_err(), Errno::ENOTDIR);
    assert_eq!(w.mv("/f", "/g/", plain).await.unwrap_err(), Errno::ENOTDIR);
    assert_eq!(w.mv("/f", "/b", RenameMode::NoReplace).await.unwrap_err(), Errno::EEXIST);
    assert_eq!(w.mv("/b", "/a", plain).await.unwrap_err(), Errno::ENOTEMPTY);
    w.mv("/f", "/b", RenameMode::Exchange).await.unwrap();
    assert!(w.stat("/f").await.unwrap().is_dir() && w.stat("/b").await.unwrap().is_regular());
    let (c, _) = w.walker(true).resolve(b"/a/c").await.unwrap();
    w.mv("/a/c", "/f/d", plain).await.unwrap();
    assert_eq!(w.vfs.path_of(&c, &w.vfs.root()).0, b"/f/d");
    assert_eq!(w.stat("/a").await.unwrap().nlink, 2);
    assert_eq!(w.stat("/f").await.unwrap().nlink, 3);
}

#[tokio::test]
async fn permissions_on_the_way() {
    let mut w = World::new();
    w.mkdir("/a").await.unwrap();
    w.touch("/a/f").await.unwrap();
    w.stat("/a").await.unwrap();
    let (a, _) = w.walker(true).resolve(b"/a").await.unwrap();
    a.inode().set_attr(inode::SetAttr { mode: Some(0o700), ..Default::default() }).await.unwrap();
    w.creds = creds(1000, 0);
    assert_eq!(w.stat("/a/f").await.unwrap_err(), Errno::EACCES);
    assert_eq!(w.stat("/a/none").await.unwrap_err(), Errno::EACCES);
    assert_eq!(w.touch("/n").await.unwrap_err(), Errno::EACCES);
    assert!(w.stat("/a").await.is_ok());
}

#[tokio::test]
async fn mounts() {
    let w = World::new();
    w.mkdir("/m").await.unwrap();
    w.touch("/m/under").await.unwrap();
    let (m, _) = w.walker(true).resolve(b"/m").await.unwrap();
    let fs = TmpFs::new(2, w.vfs.host.clone(), TmpfsOptions::default());
    let mount = w.vfs.mount(&m, fs, MountFlags::MS_RDONLY, "tmpfs");
    assert_eq!(w.stat("/m/under").await.unwrap_err(), Errno::ENOENT);
    assert_eq!(w.stat("/m").await.unwrap().dev, 2);
    assert_eq!(w.stat("/m/..").await.unwrap().dev, 1);
    assert_eq!(w.touch("/m/x").await.unwrap_err(), Errno::EROFS);
    assert_eq!(w.walker(false).rmdir(b"/m").await.unwrap_err(), Errno::EBUSY);
    assert_eq!(w.mv("/m", "/n", RenameMode::Replace).await.unwrap_err(), Errno::EBUSY);
    assert_eq!(w.mv("/m/x", "/n", RenameMode::Replace).await.unwrap_err(), Errno::EXDEV);
    let scoped = Walker { resolve: ResolveFlags::RESOLVE_NO_XDEV, ..w.walker(true) };
    assert_eq!(scoped.resolve(b"/m").await.unwrap_err(), Errno::EXDEV);
    let beneath = Walker { resolve: ResolveFlags::RESOLVE_BENEATH, ..w.walker(true) };
    assert_eq!(beneath.resolve(b"..").await.unwrap_err(), Errno::EXDEV);
    assert_eq!(beneath.resolve(b"/m").await.unwrap_err(), Errno::EXDEV);
    w.vfs.mounts.unmount(&mount);
    assert!(w.stat("/m/under").await.is_ok());
}

#[tokio::test]
async fn a_deep_tree_ends_without_recursion() {
    let mut w = World::new();
    for _ in 0..50_000 {
        w.mkdir("d").await.unwrap();
        w.cwd = w.walker(true).resolve(b"d").await.unwrap().0;
    }
    w.cwd = w.vfs.root();
    w.vfs.shutdown();
}
