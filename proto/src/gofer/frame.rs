//! Frames of the gofer's wire: lengths, bounded; the header as protobuf; the payload as it is.

use prost::Message;

/// Bytes before the header.
pub const PREFIX: usize = 8;
/// Bytes of a header at most.
pub const MAX_HEADER: usize = 256 << 10;
/// Bytes of a payload at most.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Bytes of a whole frame at most.
pub const MAX_FRAME: usize = PREFIX + MAX_HEADER + MAX_PAYLOAD;

/// Why bytes are not a frame. Each ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header's length is out of bounds.
    #[error("a header of {0} bytes (at most {MAX_HEADER})")]
    Header(usize),
    /// The payload's length is out of bounds.
    #[error("a payload of {0} bytes (at most {MAX_PAYLOAD})")]
    Payload(usize),
    /// The header is not the expected message.
    #[error("a malformed header: {0}")]
    Malformed(String),
}

/// One frame, borrowed from the bytes that arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The message's encoding.
    pub header: &'a [u8],
    /// What follows it.
    pub payload: &'a [u8],
    /// Bytes of the whole frame.
    pub len: usize,
}

impl Frame<'_> {
    /// Decodes the header.
    ///
    /// # Errors
    /// [`FrameError::Malformed`].
    pub fn decode<M: Message + Default>(&self) -> Result<M, FrameError> {
        M::decode(self.header).map_err(|e| FrameError::Malformed(e.to_string()))
    }
}

fn length(bytes: Option<&[u8]>) -> Option<usize> {
    Some(u32::from_le_bytes(bytes?.try_into().ok()?) as usize)
}

/// The frame at the start of `bytes`: `Ok(Err(n))` says that the frame needs `n` bytes in all and they are not there yet
/// (`n` is [`PREFIX`] as long as the lengths are unknown).
///
/// # Errors
/// Lengths out of bounds, seen as soon as the prefix is there.
pub fn split_frame(bytes: &[u8]) -> Result<Result<Frame<'_>, usize>, FrameError> {
    let (Some(header), Some(payload)) = (length(bytes.get(..4)), length(bytes.get(4..PREFIX))) else {
        return Ok(Err(PREFIX));
    };
    if header > MAX_HEADER {
        return Err(FrameError::Header(header));
    }
    if payload > MAX_PAYLOAD {
        return Err(FrameError::Payload(payload));
    }
    let len = PREFIX + header + payload;
    match (bytes.get(PREFIX..PREFIX + header), bytes.get(PREFIX + header..len)) {
        (Some(header), Some(payload)) => Ok(Ok(Frame { header, payload, len })),
        _ => Ok(Err(len)),
    }
}

/// Starts a frame at the end of `out`: room for the prefix, then the header. Append the payload, then call [`finish_frame`] with
/// the position returned here. Truncating `out` to that position takes the frame back.
pub fn begin_frame<M: Message>(out: &mut Vec<u8>, header: &M) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    header.encode_raw(out);
    let len = (out.len() - start - PREFIX) as u32;
    if let Some(prefix) = out.get_mut(start..start + 4) {
        prefix.copy_from_slice(&len.to_le_bytes());
    }
    start
}

/// Ends the frame that [`begin_frame`] started at `start`: what is behind its header is the payload.
pub fn finish_frame(out: &mut [u8], start: usize) {
    let header = length(out.get(start..start + 4)).unwrap_or(0);
    let payload = out.len().saturating_sub(start + PREFIX + header) as u32;
    if let Some(prefix) = out.get_mut(start + 4..start + PREFIX) {
        prefix.copy_from_slice(&payload.to_le_bytes());
    }
}

/// Appends a whole frame to `out`.
pub fn encode_frame<M: Message>(out: &mut Vec<u8>, header: &M, payload: &[u8]) {
    let start = begin_frame(out, header);
    out.extend_from_slice(payload);
    finish_frame(out, start);
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use proptest::prelude::*;

    fn request() -> Request {
        Request {
            id: 7,
            close: vec![1, 2, 300],
            op: Some(Op::Walk(Walk { dir: 1, names: vec![b"usr".to_vec(), b"bin".to_vec()], handles: vec![4, 5] })),
        }
    }

    #[test]
    fn round_trip_with_payload() {
        let mut out = vec![];
        encode_frame(&mut out, &request(), b"hello");
        encode_frame(&mut out, &Reply { id: 9, ..Reply::default() }, b"");
        let frame = split_frame(&out).unwrap().unwrap();
        assert_eq!(frame.decode::<Request>().unwrap(), request());
        assert_eq!(frame.payload, b"hello");
        let rest = split_frame(&out[frame.len..]).unwrap().unwrap();
        assert_eq!(rest.decode::<Reply>().unwrap().id, 9);
        assert_eq!(frame.len + rest.len, out.len());
    }

    #[test]
    fn a_part_of_a_frame_says_how_much_is_missing() {
        let mut out = vec![];
        encode_frame(&mut out, &request(), b"hello");
        for n in 0..out.len() {
            let want = if n < PREFIX { PREFIX } else { out.len() };
            assert_eq!(split_frame(&out[..n]), Ok(Err(want)));
        }
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_allocated() {
        assert_eq!(split_frame(&[255, 255, 255, 255, 0, 0, 0, 0]), Err(FrameError::Header(u32::MAX as usize)));
        assert_eq!(split_frame(&[0, 0, 0, 0, 255, 255, 255, 255]), Err(FrameError::Payload(u32::MAX as usize)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            if let Ok(Ok(frame)) = split_frame(&bytes) {
                let _ = frame.decode::<Request>();
                let _ = frame.decode::<Reply>();
            }
            let frame = Frame { header: &bytes, payload: &[], len: 0 };
            let _ = frame.decode::<Request>();
            let _ = frame.decode::<Reply>();
        }

        #[test]
        fn a_damaged_frame_never_panics(at in 0usize..60, value in any::<u8>()) {
            let mut out = vec![];
            encode_frame(&mut out, &request(), b"hello");
            let at = at % out.len();
            out[at] = value;
            if let Ok(Ok(frame)) = split_frame(&out) {
                let _ = frame.decode::<Request>();
            }
        }
    }
}
