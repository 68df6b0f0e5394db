//! Randomness (xorshift64*) and damage: what a fuzz target does to a valid input.

/// Numbers at which decoders break.
const CORNERS: &[u64] = &[
    0,
    1,
    2,
    7,
    8,
    15,
    16,
    63,
    64,
    127,
    128,
    255,
    256,
    4095,
    4096,
    4097,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_f000,
    0x7fff_ffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_f000,
    0xffff_ffff_ffff_ffff,
];

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // splitmix64, so that neighbouring seeds have nothing in common.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A small number mostly, a corner often, anything sometimes.
    pub(crate) fn number(&mut self) -> u64 {
        match self.below(8) {
            0..=3 => self.next() % 20,
            4 => *self.pick(CORNERS),
            5 => self.pick(CORNERS).wrapping_add(self.next() % 32).wrapping_sub(16),
            6 => self.next() >> self.below(64),
            _ => self.next(),
        }
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        let zeros = self.one_in(3);
        (0..len).map(|_| if zeros && self.one_in(2) { 0 } else { self.next() as u8 }).collect()
    }

    /// Text of up to `most` characters out of `alphabet`, now and then of others.
    pub(crate) fn text(&mut self, alphabet: &str, most: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        let others = ['\0', '\n', ' ', 'ä', '\u{202e}', '𝄞', '\u{7f}', '"', '\\', '%'];
        (0..self.below(most + 1))
            .map(|_| if self.one_in(20) { *self.pick(&others) } else { *self.pick(&alphabet) })
            .collect()
    }

    /// Damages `bytes` in one to four places: bits, numbers of every width, and pieces cut out, doubled, moved or put in.
    pub(crate) fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(4) {
            if bytes.is_empty() {
                bytes.extend(self.bytes(16));
                continue;
            }
            let at = self.below(bytes.len());
            let len = 1 + self.below((bytes.len() - at).min(32));
            match self.below(9) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.number() as u8,
                2 | 3 => {
                    let number = self.number().to_le_bytes();
                    let width = (1 << self.below(4)).min(bytes.len() - at);
                    bytes[at..at + width].copy_from_slice(&number[..width]);
                }
                4 => drop(bytes.drain(at..at + len)),
                5 => {
                    let piece = bytes[at..at + len].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                6 => bytes.truncate(at),
                7 => {
                    let piece = self.bytes(16);
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let other = self.below(bytes.len());
                    bytes.swap(at, other);
                }
            }
        }
    }

    /// The same for text, which stays UTF-8.
    pub(crate) fn damage_text(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.damage(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Bytes in protobuf's encoding that fit no schema in particular: small field numbers, nested to `depth`.
    pub(crate) fn protobuf(&mut self, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..self.below(6) {
            let field = 1 + self.next() % 17;
            let kind = if self.one_in(30) { self.next() % 8 } else { *self.pick(&[0, 2, 2, 2]) };
            varint(&mut out, field << 3 | kind);
            match kind {
                0 => {
                    let number = self.number();
                    varint(&mut out, number);
                }
                1 => out.extend(self.next().to_le_bytes()),
                2 => {
                    let inner = if depth > 0 { self.protobuf(depth - 1) } else { self.bytes(12) };
                    let len = if self.one_in(40) { self.number() } else { inner.len() as u64 };
                    varint(&mut out, len);
                    out.extend(inner);
                }
                5 => out.extend((self.next() as u32).to_le_bytes()),
                _ => {}
            }
        }
        out
    }
}

pub(crate) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
