//! Messages with their length before them, in four bytes, and descriptors that go with them.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use prost::Message;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::Brought;

/// The largest message that is taken: what a call brings along (`GATHER_MAX`) and some more.
const MAX: usize = 1 << 20;

/// The messages of a connection.
pub(super) struct Messages {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Messages {
    /// Of a connection.
    pub(super) fn of(stream: UnixStream) -> Self {
        Messages { stream, buffer: Vec::new() }
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next<M: Message + Default>(&mut self) -> io::Result<M> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.stream.readable().await?;
            match self.stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One that has arrived as a whole.
    fn take<M: Message + Default>(&mut self) -> io::Result<Option<M>> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(*head) as usize;
        if len > MAX {
            return Err(io::Error::other("a message that is too long"));
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let message = M::decode(body).map_err(io::Error::other)?;
        self.buffer.drain(..4 + len);
        if self.buffer.is_empty() && self.buffer.capacity() > 64 << 10 {
            self.buffer = Vec::new();
        }
        Ok(Some(message))
    }

    /// Sends one.
    pub(super) async fn send(&self, message: &impl Message, brought: Brought) -> io::Result<()> {
        let len = message.encoded_len();
        let mut bytes = Vec::with_capacity(4 + len);
        bytes.extend_from_slice(&u32::try_from(len).map_err(io::Error::other)?.to_le_bytes());
        message.encode_raw(&mut bytes);
        let raw: Vec<i32> = brought.iter().map(AsRawFd::as_raw_fd).collect();
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            let rights = [ControlMessage::ScmRights(&raw)];
            let rights = if sent == 0 && !raw.is_empty() { &rights[..] } else { &[] };
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            let send = || {
                let fd = self.stream.as_raw_fd();
                sendmsg::<()>(fd, &[IoSlice::new(rest)], rights, flags, None).map_err(io::Error::from)
            };
            sent += self.stream.async_io(Interest::WRITABLE, send).await?;
        }
        Ok(())
    }

    /// Who is at the other end: user and process.
    pub(super) fn peer(&self) -> Option<(u32, i32)> {
        let peer = self.stream.peer_cred().ok()?;
        Some((peer.uid(), peer.pid().filter(|pid| *pid > 0)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsc_proto::v1::{BrokerNames, BrokerWelcome};
    use std::io::{IoSliceMut, Write as _};

    fn pair() -> (Messages, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Messages::of(UnixStream::from_std(ours).unwrap()), theirs)
    }

    #[tokio::test]
    async fn messages_come_in_pieces_and_together() {
        let (mut ours, mut theirs) = pair();
        let message = BrokerNames { name: "a.example".to_owned(), addresses: vec![vec![1, 2, 3, 4].into()] };
        let mut bytes = (message.encoded_len() as u32).to_le_bytes().to_vec();
        bytes.extend(message.encode_to_vec());
        let both = [&bytes[..], &bytes[..]].concat();
        let (first, rest) = both.split_at(bytes.len() + 7);
        theirs.write_all(first).unwrap();
        assert_eq!(ours.next::<BrokerNames>().await.unwrap(), message);
        theirs.write_all(rest).unwrap();
        assert_eq!(ours.next::<BrokerNames>().await.unwrap(), message);
        drop(theirs);
        assert_eq!(ours.next::<BrokerNames>().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn hostile_ones_end_the_connection() {
        let (mut ours, mut theirs) = pair();
        theirs.write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert!(ours.next::<BrokerNames>().await.is_err());
        let (mut ours, mut theirs) = pair();
        theirs.write_all(&[2, 0, 0, 0, 0xff, 0xff]).unwrap();
        assert!(ours.next::<BrokerNames>().await.is_err());
    }

    #[tokio::test]
    async fn descriptors_come_along() {
        let (ours, theirs) = pair();
        let file = std::fs::File::open("/dev/null").unwrap();
        ours.send(&BrokerWelcome::default(), Some(file.into())).await.unwrap();
        let mut buffer = [0; 16];
        let mut room = nix::cmsg_space!([i32; 1]);
        let mut pieces = [IoSliceMut::new(&mut buffer)];
        let got = nix::sys::socket::recvmsg::<()>(theirs.as_raw_fd(), &mut pieces, Some(&mut room), MsgFlags::empty());
        let got = got.unwrap();
        assert!(got.bytes == 4 && got.cmsgs().unwrap().count() == 1);
    }
}
