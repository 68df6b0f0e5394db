//! Messages of D-Bus, as far as systemd's manager needs them: method calls are written, replies, errors and signals are read. Little
//! endian, as all machines that this runs on. <https://dbus.freedesktop.org/doc/dbus-specification.html>

/// Nothing that is read here is larger; D-Bus itself allows 128 MiB.
const MAX_MESSAGE: usize = 1 << 20;
/// The part of a message that says how long the rest is.
pub(super) const HEAD: usize = 16;

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Texts(Vec<String>),
    Flag(bool),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Pids(Vec<u32>),
    Bytes(Vec<u8>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Texts(_) => "as",
            Self::Flag(_) => "b",
            Self::I32(_) => "i",
            Self::U32(_) => "u",
            Self::I64(_) => "x",
            Self::U64(_) => "t",
            Self::Pids(_) => "au",
            Self::Bytes(_) => "ay",
        }
    }
}

/// A property of a unit.
pub(super) type Property = (String, Value);

/// Marshals values one after the other, each where its type wants it.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
    }

    /// A string, or a path.
    pub(super) fn text(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    /// An array whose items begin at multiples of `align`.
    fn array(&mut self, align: usize, items: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length = self.bytes.len() - 4..self.bytes.len();
        self.align(align);
        let start = self.bytes.len();
        items(self);
        let written = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(length) {
            place.copy_from_slice(&written.to_le_bytes());
        }
    }

    pub(super) fn pids(&mut self, pids: &[u32]) {
        self.array(4, |writer| pids.iter().for_each(|pid| writer.u32(*pid)));
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Text(text) => self.text(text),
            Value::Texts(texts) => self.array(4, |writer| texts.iter().for_each(|text| writer.text(text))),
            Value::Flag(flag) => self.flag(*flag),
            Value::I32(number) => self.u32(number.cast_unsigned()),
            Value::U32(number) => self.u32(*number),
            Value::I64(number) => self.u64(number.cast_unsigned()),
            Value::U64(number) => self.u64(*number),
            Value::Pids(pids) => self.pids(pids),
            Value::Bytes(bytes) => self.array(1, |writer| writer.bytes.extend(bytes)),
        }
    }

    /// `a(sv)`.
    pub(super) fn properties(&mut self, properties: &[Property]) {
        self.array(8, |writer| {
            for (name, value) in properties {
                writer.align(8);
                writer.text(name);
                writer.variant(value);
            }
        });
    }

    /// An array of structures without any in it.
    pub(super) fn no_structures(&mut self) {
        self.array(8, |_| {});
    }
}

/// Whom a method call is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
}

/// A method call with the arguments in `body`, whose types are `signature`.
pub(super) fn call(serial: u32, target: Target<'_>, member: &str, signature: &str, body: &Writer) -> Vec<u8> {
    const METHOD_CALL: u8 = 1;
    let mut message = Writer { bytes: vec![b'l', METHOD_CALL, 0, 1] };
    message.u32(u32::try_from(body.bytes.len()).unwrap_or(u32::MAX));
    message.u32(serial);
    let fields = [
        (1, "o", target.path),
        (2, "s", target.interface),
        (3, "s", member),
        (6, "s", target.destination),
        (8, "g", signature),
    ];
    message.array(8, |writer| {
        for (code, kind, text) in fields {
            if text.is_empty() {
                continue;
            }
            writer.align(8);
            writer.bytes.push(code);
            writer.signature(kind);
            if kind == "g" { writer.signature(text) } else { writer.text(text) }
        }
    });
    message.align(8);
    message.bytes.extend(&body.bytes);
    message.bytes
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Reply,
    Error,
    Signal,
    Other,
}

/// A message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The call that it answers.
    pub(super) reply_to: Option<u32>,
    /// What a signal is called, or an error.
    pub(super) name: String,
    pub(super) sender: String,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

/// How long the message is of which these are the first bytes; none: it is none that can be read.
pub(super) fn length(head: &[u8; HEAD]) -> Option<usize> {
    let mut reader = Reader { bytes: head, at: 0 };
    let [order, _, _, version] = *reader.take(4)?.first_chunk::<4>()?;
    let (body, _serial, fields) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let (body, fields) = (usize::try_from(body).ok()?, usize::try_from(fields).ok()?);
    if order != b'l' || version != 1 || body > MAX_MESSAGE || fields > MAX_MESSAGE {
        return None;
    }
    Some(HEAD + fields.next_multiple_of(8) + body).filter(|length| *length <= MAX_MESSAGE)
}

impl Message {
    /// Reads a whole one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if length(bytes.first_chunk()?)? != bytes.len() {
            return None;
        }
        let mut reader = Reader { bytes, at: 12 };
        let end = HEAD + usize::try_from(reader.u32()?).ok()?;
        let kind = match bytes.get(1)? {
            2 => Kind::Reply,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => Kind::Other,
        };
        let body = bytes.get(end.next_multiple_of(8)..)?.to_vec();
        let empty = String::new;
        let mut message = Self { kind, reply_to: None, name: empty(), sender: empty(), signature: empty(), body };
        let mut fields = Reader { bytes: bytes.get(..end)?, at: HEAD };
        while fields.at < end {
            fields.align(8)?;
            let code = *fields.take(1)?.first()?;
            match (code, fields.signature()?.as_str()) {
                (3 | 4, "s") => message.name = fields.text()?,
                (7, "s") => message.sender = fields.text()?,
                (_, "s" | "o") => drop(fields.text()?),
                (8, "g") => message.signature = fields.signature()?,
                (_, "g") => drop(fields.signature()?),
                (5, "u") => message.reply_to = Some(fields.u32()?),
                (_, "u" | "i" | "b") => drop(fields.u32()?),
                _ => return None,
            }
        }
        Some(message)
    }

    /// Its body, if that is of these types.
    pub(super) fn body(&self, signature: &str) -> Option<Reader<'_>> {
        (self.signature == signature).then_some(Reader { bytes: &self.body, at: 0 })
    }
}

/// Unmarshals; none: it ends too early, or is something else.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn align(&mut self, to: usize) -> Option<()> {
        self.take(self.at.next_multiple_of(to) - self.at).map(drop)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4)?;
        self.take(4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn ended(&mut self, length: usize) -> Option<String> {
        let text = std::str::from_utf8(self.take(length)?).ok()?.to_owned();
        (self.take(1)? == [0]).then_some(text)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.ended(length)
    }

    pub(super) fn signature(&mut self) -> Option<String> {
        let length = usize::from(*self.take(1)?.first()?);
        self.ended(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target<'static> = Target { destination: "a.b", path: "/a", interface: "a.b.C" };

    #[test]
    fn a_call_byte_for_byte() {
        let mut body = Writer::default();
        body.text("hi");
        body.flag(true);
        let bytes = call(7, Target { destination: "", ..TARGET }, "M", "sb", &body);
        let expected: &[u8] = b"l\x01\x00\x01\x0c\0\0\0\x07\0\0\0\x38\0\0\0\
            \x01\x01o\0\x02\0\0\0/a\0\0\0\0\0\0\
            \x02\x01s\0\x05\0\0\0a.b.C\0\0\0\
            \x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0\
            \x08\x01g\0\x02sb\0\
            \x02\0\0\0hi\0\0\x01\0\0\0";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn every_type_of_property() {
        let mut writer = Writer::default();
        writer.properties(&[
            ("A".to_owned(), Value::U64(3)),
            ("B".to_owned(), Value::Pids(vec![1, 2])),
            ("C".to_owned(), Value::Bytes(vec![5])),
            ("D".to_owned(), Value::Texts(vec!["x".to_owned()])),
        ]);
        let expected: &[u8] = b"\x5e\0\0\0\0\0\0\0\
            \x01\0\0\0A\0\x01t\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\
            \x01\0\0\0B\0\x02au\0\0\0\x08\0\0\0\x01\0\0\0\x02\0\0\0\
            \x01\0\0\0C\0\x02ay\0\0\0\x01\0\0\0\x05\0\0\0\0\0\0\0\
            \x01\0\0\0D\0\x02as\0\0\0\x06\0\0\0\x01\0\0\0x\0";
        assert_eq!(writer.bytes, expected);
    }

    /// A signal as a manager sends it, made of our own words.
    fn signal() -> Vec<u8> {
        let mut body = Writer::default();
        body.u32(9);
        body.text("/job/9");
        let mut bytes = call(3, TARGET, "JobRemoved", "uo", &body);
        bytes[1] = 4;
        bytes
    }

    #[test]
    fn what_is_written_can_be_read() {
        let bytes = signal();
        assert_eq!(length(bytes.first_chunk().unwrap()), Some(bytes.len()));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.kind, message.name.as_str(), message.reply_to), (Kind::Signal, "JobRemoved", None));
        let mut body = message.body("uo").unwrap();
        assert_eq!((body.u32(), body.text(), body.u32()), (Some(9), Some("/job/9".to_owned()), None));
        assert!(message.body("s").is_none());
    }

    #[test]
    fn broken_messages_are_refused() {
        let bytes = signal();
        for end in 0..bytes.len() {
            assert_eq!(Message::parse(&bytes[..end]), None);
        }
        // No byte whatever makes it panic.
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                if let Some(message) = Message::parse(&changed) {
                    let _ = message.body("uo").map(|mut body| (body.u32(), body.text()));
                }
            }
        }
        let mut huge = bytes.clone();
        huge[4..8].fill(0xff);
        assert_eq!(length(huge.first_chunk().unwrap()), None);
        let mut big_endian = bytes;
        big_endian[0] = b'B';
        assert_eq!(length(big_endian.first_chunk().unwrap()), None);
    }
}
