//! The line discipline N_TTY: what becomes of what is typed, and of what is written. termios(3); Linux: drivers/tty/n_tty.c.
//!
//! A function of bytes and settings, without waiting: input goes in by [`Discipline::receive`], the echo and output come out by
//! [`Discipline::take_output`], what the program reads by [`Discipline::read`].

use std::collections::VecDeque;

use rsc_proto::abi::linux::Termios;
use rsc_proto::abi::{Errno, sig};

/// Bytes of one line, and of input without lines. Linux: `N_TTY_BUF_SIZE`, less one.
const INPUT_MAX: usize = 4095;
/// Output that waits for the other end.
const OUTPUT_MAX: usize = 8192;
/// Of which the echo may use this much more, and no further.
const ECHO_ROOM: usize = 64;

/// `c_iflag`.
mod input {
    pub(super) const ISTRIP: u32 = 0o40;
    pub(super) const INLCR: u32 = 0o100;
    pub(super) const IGNCR: u32 = 0o200;
    pub(super) const ICRNL: u32 = 0o400;
    pub(super) const IUCLC: u32 = 0o1000;
    pub(super) const IXON: u32 = 0o2000;
    pub(super) const IXANY: u32 = 0o4000;
    pub(super) const IUTF8: u32 = 0o40000;
}

/// `c_oflag`.
mod output {
    pub(super) const OPOST: u32 = 0o1;
    pub(super) const OLCUC: u32 = 0o2;
    pub(super) const ONLCR: u32 = 0o4;
    pub(super) const OCRNL: u32 = 0o10;
    pub(super) const ONOCR: u32 = 0o20;
    pub(super) const ONLRET: u32 = 0o40;
    pub(super) const TABDLY: u32 = 0o14000;
}

/// `c_lflag`.
mod local {
    pub(super) const ISIG: u32 = 0o1;
    pub(super) const ICANON: u32 = 0o2;
    pub(super) const ECHO: u32 = 0o10;
    pub(super) const ECHOE: u32 = 0o20;
    pub(super) const ECHOK: u32 = 0o40;
    pub(super) const ECHONL: u32 = 0o100;
    pub(super) const NOFLSH: u32 = 0o200;
    pub(super) const TOSTOP: u32 = 0o400;
    pub(super) const ECHOCTL: u32 = 0o1000;
    pub(super) const ECHOKE: u32 = 0o4000;
    pub(super) const IEXTEN: u32 = 0o100000;
}

/// Places in `c_cc`.
mod cc {
    pub(super) const VINTR: usize = 0;
    pub(super) const VQUIT: usize = 1;
    pub(super) const VERASE: usize = 2;
    pub(super) const VKILL: usize = 3;
    pub(super) const VEOF: usize = 4;
    pub(super) const VTIME: usize = 5;
    pub(super) const VMIN: usize = 6;
    pub(super) const VSTART: usize = 8;
    pub(super) const VSTOP: usize = 9;
    pub(super) const VSUSP: usize = 10;
    pub(super) const VEOL: usize = 11;
    pub(super) const VREPRINT: usize = 12;
    pub(super) const VWERASE: usize = 14;
    pub(super) const VLNEXT: usize = 15;
    pub(super) const VEOL2: usize = 16;
}

/// The settings of a new terminal. Linux: tty_std_termios; a pty's begin with these.
pub(super) fn standard() -> Termios {
    Termios {
        c_iflag: input::ICRNL | input::IXON,
        c_oflag: output::OPOST | output::ONLCR,
        // B38400, CS8, CREAD.
        c_cflag: 0xbf,
        c_lflag: local::ISIG
            | local::ICANON
            | local::ECHO
            | local::ECHOE
            | local::ECHOK
            | local::ECHOCTL
            | local::ECHOKE
            | local::IEXTEN,
        c_line: 0,
        c_cc: [3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0xf, 0x17, 0x16, 0, 0, 0],
    }
}

/// A line that can be read.
struct Line {
    bytes: VecDeque<u8>,
}

/// See the module's text.
pub(super) struct Discipline {
    termios: Termios,
    /// Finished lines.
    lines: VecDeque<Line>,
    /// The line that is being typed; without `ICANON`, all that can be read.
    edit: Vec<u8>,
    /// The next character is taken as it is.
    literal: bool,
    output: VecDeque<u8>,
    /// Output is held back (Ctrl-S, `TCOOFF`).
    stopped: bool,
    column: usize,
}

impl Default for Discipline {
    fn default() -> Self {
        Self {
            termios: standard(),
            lines: VecDeque::new(),
            edit: Vec::new(),
            literal: false,
            output: VecDeque::new(),
            stopped: false,
            column: 0,
        }
    }
}

impl Discipline {
    /// The settings.
    pub(super) fn termios(&self) -> Termios {
        self.termios
    }

    /// Changes them. What was typed stays, and is seen as the new mode has it. Linux: n_tty_set_termios().
    pub(super) fn set_termios(&mut self, new: Termios) {
        let was = self.termios.c_lflag & local::ICANON != 0;
        let becomes = new.c_lflag & local::ICANON != 0;
        self.termios = new;
        if was && !becomes {
            let lines = std::mem::take(&mut self.lines).into_iter().flat_map(|line| line.bytes);
            self.edit = lines.chain(std::mem::take(&mut self.edit)).collect();
        } else if !was && becomes && !self.edit.is_empty() {
            let bytes = std::mem::take(&mut self.edit).into();
            self.lines.push_back(Line { bytes });
        }
        if new.c_iflag & input::IXON == 0 {
            self.stopped = false;
        }
    }

    /// Whether output of processes in the background stops them.
    pub(super) fn stops_output(&self) -> bool {
        self.local(local::TOSTOP)
    }

    fn local(&self, flag: u32) -> bool {
        self.termios.c_lflag & flag != 0
    }

    fn input(&self, flag: u32) -> bool {
        self.termios.c_iflag & flag != 0
    }

    fn control(&self, place: usize) -> u8 {
        self.termios.c_cc.get(place).copied().unwrap_or(0)
    }

    /// Whether `byte` is the character for something; 0 stands for none.
    fn is(&self, byte: u8, place: usize) -> bool {
        byte != 0 && self.control(place) == byte
    }

    /// Bytes that can be typed now without being lost.
    pub(super) fn room(&self) -> usize {
        // In a line, what is too much is thrown away, but its end is not.
        if self.local(local::ICANON) { INPUT_MAX } else { INPUT_MAX.saturating_sub(self.edit.len()) }
    }

    /// Something is typed. The signals that it means are added to `signals`.
    pub(super) fn receive(&mut self, bytes: &[u8], signals: &mut Vec<u32>) {
        for byte in bytes {
            self.receive_one(*byte, signals);
        }
    }

    fn receive_one(&mut self, mut byte: u8, signals: &mut Vec<u32>) {
        if self.input(input::ISTRIP) {
            byte &= 0x7f;
        }
        if self.input(input::IUCLC) && self.local(local::IEXTEN) {
            byte = byte.to_ascii_lowercase();
        }
        if std::mem::take(&mut self.literal) {
            self.echo(byte);
            return self.put(byte);
        }
        if self.input(input::IXON) {
            if self.is(byte, cc::VSTART) {
                self.stopped = false;
                return;
            }
            if self.is(byte, cc::VSTOP) {
                self.stopped = true;
                return;
            }
        }
        if self.stopped && self.input(input::IXON) && self.input(input::IXANY) {
            self.stopped = false;
        }
        if self.local(local::ISIG) {
            for (place, signal) in [(cc::VINTR, sig::SIGINT), (cc::VQUIT, sig::SIGQUIT), (cc::VSUSP, sig::SIGTSTP)] {
                if self.is(byte, place) {
                    if !self.local(local::NOFLSH) {
                        self.flush_input();
                        self.output.clear();
                    }
                    self.echo(byte);
                    return signals.push(signal);
                }
            }
        }
        match byte {
            b'\r' if self.input(input::IGNCR) => return,
            b'\r' if self.input(input::ICRNL) => byte = b'\n',
            b'\n' if self.input(input::INLCR) => byte = b'\r',
            _ => {}
        }
        if self.local(local::ICANON) {
            self.edit_line(byte);
        } else {
            self.echo(byte);
            self.put(byte);
        }
    }

    fn edit_line(&mut self, byte: u8) {
        let extended = self.local(local::IEXTEN);
        if self.is(byte, cc::VERASE) {
            self.erase_one();
        } else if self.is(byte, cc::VKILL) {
            self.kill(byte);
        } else if extended && self.is(byte, cc::VWERASE) {
            self.erase_word();
        } else if extended && self.is(byte, cc::VLNEXT) {
            self.literal = true;
            if self.local(local::ECHO) && self.local(local::ECHOCTL) && self.output.len() < OUTPUT_MAX {
                self.output.extend(b"^\x08");
            }
        } else if extended && self.is(byte, cc::VREPRINT) && self.local(local::ECHO) {
            self.echo(byte);
            self.print(b'\n');
            for typed in self.edit.clone() {
                self.echo(typed);
            }
        } else if byte == b'\n' {
            if self.local(local::ECHO) || self.local(local::ECHONL) {
                self.print(b'\n');
            }
            self.end_line(Some(byte));
        } else if self.is(byte, cc::VEOF) {
            self.end_line(None);
        } else if self.is(byte, cc::VEOL) || extended && self.is(byte, cc::VEOL2) {
            self.echo(byte);
            self.end_line(Some(byte));
        } else {
            self.echo(byte);
            self.put(byte);
        }
    }

    fn put(&mut self, byte: u8) {
        if self.edit.len() < INPUT_MAX {
            self.edit.push(byte);
        }
    }

    fn end_line(&mut self, last: Option<u8>) {
        // Nobody reads: one more would be without a bound.
        let waiting: usize = self.lines.iter().map(|line| line.bytes.len() + 1).sum();
        if waiting + self.edit.len() > 2 * INPUT_MAX {
            self.edit.clear();
            return;
        }
        let mut bytes: VecDeque<u8> = std::mem::take(&mut self.edit).into();
        bytes.extend(last);
        self.lines.push_back(Line { bytes });
    }

    /// Takes the last character of the line away; what it was.
    fn pop(&mut self) -> Option<u8> {
        let mut last = self.edit.pop()?;
        while self.input(input::IUTF8) && last & 0xc0 == 0x80 {
            let Some(before) = self.edit.pop() else { break };
            last = before;
        }
        Some(last)
    }

    fn erase_one(&mut self) {
        if let Some(gone) = self.pop() {
            self.show_erased(gone);
        }
    }

    fn show_erased(&mut self, gone: u8) {
        if !self.local(local::ECHO) || self.output.len() >= OUTPUT_MAX {
            return;
        }
        if !self.local(local::ECHOE) {
            let erase = self.control(cc::VERASE);
            return self.echo(erase);
        }
        let width = match gone {
            b'\t' => 8 - self.width() % 8,
            _ if gone.is_ascii_control() => 2 * usize::from(self.local(local::ECHOCTL)),
            _ => 1,
        };
        for _ in 0..width {
            self.output.extend(b"\x08 \x08");
            self.column = self.column.saturating_sub(1);
        }
    }

    /// Columns of what is left of the line.
    fn width(&self) -> usize {
        self.edit.iter().fold(0, |at, byte| match byte {
            b'\t' => at + 8 - at % 8,
            _ if byte.is_ascii_control() => at + 2 * usize::from(self.local(local::ECHOCTL)),
            _ if self.input(input::IUTF8) && byte & 0xc0 == 0x80 => at,
            _ => at + 1,
        })
    }

    fn erase_word(&mut self) {
        let mut seen = false;
        while let Some(last) = self.edit.last().copied() {
            let word = last.is_ascii_alphanumeric() || last == b'_' || last >= 0x80;
            if seen && !word {
                break;
            }
            seen |= word;
            self.erase_one();
        }
    }

    fn kill(&mut self, byte: u8) {
        if self.local(local::ECHO) && self.local(local::ECHOK) && self.local(local::ECHOKE) && self.local(local::ECHOE)
        {
            while !self.edit.is_empty() {
                self.erase_one();
            }
            return;
        }
        self.edit.clear();
        self.echo(byte);
        if self.local(local::ECHO) && self.local(local::ECHOK) {
            self.print(b'\n');
        }
    }

    /// Shows what was typed.
    fn echo(&mut self, byte: u8) {
        if !self.local(local::ECHO) || self.output.len() >= OUTPUT_MAX {
            return;
        }
        if self.local(local::ECHOCTL) && byte.is_ascii_control() && byte != b'\t' && byte != b'\n' {
            self.output.extend([b'^', byte ^ 0o100]);
            self.column += 2;
        } else {
            self.print(byte);
        }
    }

    /// Output, processed. Linux: do_output_char().
    fn print(&mut self, byte: u8) {
        if self.output.len() >= OUTPUT_MAX + ECHO_ROOM {
            return;
        }
        let flags = self.termios.c_oflag;
        let on = |flag| flags & flag != 0;
        if !on(output::OPOST) {
            self.output.push_back(byte);
            return;
        }
        match byte {
            b'\n' => {
                if on(output::ONLCR) {
                    self.output.push_back(b'\r');
                }
                if on(output::ONLCR) || on(output::ONLRET) {
                    self.column = 0;
                }
                self.output.push_back(byte);
            }
            b'\r' if on(output::ONOCR) && self.column == 0 => {}
            b'\r' if on(output::OCRNL) => {
                if on(output::ONLRET) {
                    self.column = 0;
                }
                self.output.push_back(b'\n');
            }
            b'\r' => {
                self.column = 0;
                self.output.push_back(byte);
            }
            b'\t' => {
                let spaces = 8 - self.column % 8;
                self.column += spaces;
                if flags & output::TABDLY == output::TABDLY {
                    self.output.extend(std::iter::repeat_n(b' ', spaces));
                } else {
                    self.output.push_back(byte);
                }
            }
            0x08 => {
                self.column = self.column.saturating_sub(1);
                self.output.push_back(byte);
            }
            _ => {
                let shown = if on(output::OLCUC) { byte.to_ascii_uppercase() } else { byte };
                let continues = self.input(input::IUTF8) && byte & 0xc0 == 0x80;
                if !byte.is_ascii_control() && !continues {
                    self.column += 1;
                }
                self.output.push_back(shown);
            }
        }
    }

    /// A program writes; the bytes taken. 0: there is no room.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        if self.stopped {
            return 0;
        }
        let mut taken = 0;
        for byte in bytes {
            if self.output.len() >= OUTPUT_MAX {
                break;
            }
            self.print(*byte);
            taken += 1;
        }
        taken
    }

    /// Whether a program can write.
    pub(super) fn can_write(&self) -> bool {
        !self.stopped && self.output.len() < OUTPUT_MAX
    }

    /// Output for the other end, at most `len` bytes.
    pub(super) fn take_output(&mut self, len: usize) -> Vec<u8> {
        if self.stopped {
            return Vec::new();
        }
        let len = len.min(self.output.len());
        self.output.drain(..len).collect()
    }

    /// Bytes of output that wait.
    pub(super) fn output_len(&self) -> usize {
        if self.stopped { 0 } else { self.output.len() }
    }

    /// Bytes that a program could read now.
    pub(super) fn input_len(&self) -> usize {
        if self.local(local::ICANON) { self.lines.iter().map(|line| line.bytes.len()).sum() } else { self.edit.len() }
    }

    /// Whether a read would return at once, as poll(2) has it.
    pub(super) fn can_read(&self) -> bool {
        if self.local(local::ICANON) {
            return !self.lines.is_empty();
        }
        let least = if self.control(cc::VTIME) == 0 { usize::from(self.control(cc::VMIN)).max(1) } else { 1 };
        self.edit.len() >= least
    }

    /// How long a read waits for a first byte before it returns nothing: `MIN` 0, `TIME` in tenths of a second.
    pub(super) fn patience(&self) -> Option<std::time::Duration> {
        let canonical = self.local(local::ICANON);
        let time = self.control(cc::VTIME);
        (!canonical && self.control(cc::VMIN) == 0).then(|| std::time::Duration::from_millis(u64::from(time) * 100))
    }

    /// What a program reads. `EAGAIN`: nothing yet.
    pub(super) fn read(&mut self, len: usize) -> Result<Vec<u8>, Errno> {
        if len == 0 {
            return Ok(Vec::new());
        }
        if !self.local(local::ICANON) {
            let (min, time) = (usize::from(self.control(cc::VMIN)), self.control(cc::VTIME));
            let least = if time == 0 { min.min(len) } else { min.min(1) };
            if self.edit.len() < least || self.edit.is_empty() && time != 0 {
                return Err(Errno::EAGAIN);
            }
            let len = len.min(self.edit.len());
            return Ok(self.edit.drain(..len).collect());
        }
        let line = self.lines.front_mut().ok_or(Errno::EAGAIN)?;
        let len = len.min(line.bytes.len());
        let got = line.bytes.drain(..len).collect();
        if line.bytes.is_empty() {
            self.lines.pop_front();
        }
        Ok(got)
    }

    /// Throws away what was typed.
    pub(super) fn flush_input(&mut self) {
        self.lines.clear();
        self.edit.clear();
        self.literal = false;
    }

    /// Throws away what was written.
    pub(super) fn flush_output(&mut self) {
        self.output.clear();
    }

    /// Holds output back, or lets it go (`TCXONC`).
    pub(super) fn set_stopped(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// Asks the other end to stop sending, or to go on (`TCIOFF`, `TCION`).
    pub(super) fn ask_other_end(&mut self, stop: bool) {
        let byte = self.control(if stop { cc::VSTOP } else { cc::VSTART });
        if byte != 0 && self.output.len() < OUTPUT_MAX {
            self.output.push_back(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(discipline: &mut Discipline, text: &[u8]) -> (Vec<u8>, Vec<u32>) {
        let mut signals = Vec::new();
        discipline.receive(text, &mut signals);
        (discipline.take_output(usize::MAX), signals)
    }

    #[test]
    fn lines_are_edited_and_echoed() {
        let mut d = Discipline::default();
        assert_eq!(typed(&mut d, b"ab\x7fc").0, b"ab\x08 \x08c");
        assert_eq!(d.read(10), Err(Errno::EAGAIN));
        assert_eq!(typed(&mut d, b"\r").0, b"\r\n");
        assert_eq!(d.read(2), Ok(b"ac".to_vec()));
        assert_eq!(d.read(10), Ok(b"\n".to_vec()));
        typed(&mut d, b"one two\x17x\n\x16\x03\n");
        assert_eq!(d.read(100), Ok(b"one x\n".to_vec()));
        assert_eq!(d.read(100), Ok(b"\x03\n".to_vec()));
    }

    #[test]
    fn the_end_of_input() {
        let mut d = Discipline::default();
        typed(&mut d, b"ab\x04\x04");
        assert_eq!((d.read(10), d.read(10), d.read(10)), (Ok(b"ab".to_vec()), Ok(vec![]), Err(Errno::EAGAIN)));
    }

    #[test]
    fn signals_are_typed() {
        let mut d = Discipline::default();
        assert_eq!(typed(&mut d, b"junk\x03"), (b"^C".to_vec(), vec![sig::SIGINT]));
        typed(&mut d, b"\n");
        assert_eq!(d.read(10), Ok(b"\n".to_vec()));
        assert_eq!(typed(&mut d, b"\x1a\x1c").1, [sig::SIGTSTP, sig::SIGQUIT]);
    }

    #[test]
    fn raw_mode() {
        let mut d = Discipline::default();
        typed(&mut d, b"half");
        let mut raw = d.termios();
        (raw.c_iflag, raw.c_oflag, raw.c_lflag) = (0, 0, 0);
        d.set_termios(raw);
        assert_eq!(d.read(10), Ok(b"half".to_vec()));
        assert_eq!(typed(&mut d, b"\x03\r"), (Vec::new(), Vec::new()));
        assert_eq!(d.read(10), Ok(b"\x03\r".to_vec()));
        assert_eq!((d.write(b"a\n"), d.take_output(10)), (2, b"a\n".to_vec()));
        raw.c_cc[cc::VMIN] = 3;
        d.set_termios(raw);
        typed(&mut d, b"ab");
        assert_eq!((d.can_read(), d.read(10)), (false, Err(Errno::EAGAIN)));
        typed(&mut d, b"c");
        assert_eq!(d.read(10), Ok(b"abc".to_vec()));
        raw.c_cc[cc::VMIN] = 0;
        d.set_termios(raw);
        assert_eq!(d.read(10), Ok(Vec::new()));
    }

    #[test]
    fn output_is_processed_and_stopped() {
        let mut d = Discipline::default();
        assert_eq!((d.write(b"a\nb\n"), d.take_output(100)), (4, b"a\r\nb\r\n".to_vec()));
        typed(&mut d, b"\x13");
        assert_eq!((d.write(b"x"), d.can_write()), (0, false));
        typed(&mut d, b"\x11");
        assert_eq!((d.write(b"x"), d.take_output(100)), (1, b"x".to_vec()));
    }

    #[test]
    fn nothing_grows_without_a_reader() {
        let mut d = Discipline::default();
        for _ in 0..100 {
            typed(&mut d, &[b'x'; 5000]);
            typed(&mut d, b"\n");
        }
        assert!(d.input_len() <= 2 * INPUT_MAX + 1);
        let mut d = Discipline::default();
        let mut signals = Vec::new();
        d.receive(&[b'x'; 100_000], &mut signals);
        assert!(d.output_len() <= OUTPUT_MAX && d.write(&[b'y'; 10_000]) < OUTPUT_MAX);
    }
}
