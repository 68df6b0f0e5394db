//! An assembler for eBPF: registers, sizes and conditions are types, jumps go to labels. RFC 9669.

use std::ops::Neg as _;

/// The registers. `R0` is a helper's result, `R1` to `R5` are its arguments and lost by a call, `R6` to `R9` are kept.
#[allow(missing_docs)] // they are their names
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    /// The end of the stack; below it are 512 bytes.
    R10,
}

/// How much a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// 4 bytes.
    Word = 0x00,
    /// 2 bytes.
    Half = 0x08,
    /// 1 byte.
    Byte = 0x10,
    /// 8 bytes.
    Double = 0x18,
}

/// 64-bit arithmetic.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alu {
    Add = 0x00,
    Sub = 0x10,
    Or = 0x40,
    And = 0x50,
    Shl = 0x60,
    Shr = 0x70,
    Xor = 0xa0,
    Mov = 0xb0,
}

/// When a jump is taken; comparisons are unsigned.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cond {
    Eq = 0x10,
    Gt = 0x20,
    Ne = 0x50,
    /// Signed `<`.
    Negative = 0xc0,
}

/// The right side of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A register.
    Reg(Reg),
    /// A constant, extended with its sign.
    Imm(i32),
}

impl From<Reg> for Value {
    fn from(reg: Reg) -> Self {
        Value::Reg(reg)
    }
}

impl From<i32> for Value {
    fn from(imm: i32) -> Self {
        Value::Imm(imm)
    }
}

/// What the kernel does for a program, bpf-helpers(7).
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Helper {
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    Time = 5,
    PidTgid = 14,
    UidGid = 15,
    Comm = 16,
    CurrentTask = 35,
    CgroupId = 80,
    SendSignal = 109,
    ReadUser = 112,
    ReadKernel = 113,
    ReadUserStr = 114,
    ReadKernelStr = 115,
    RingOutput = 130,
}

/// A place in the program that is jumped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Why a program can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsmError {
    /// A label has no place.
    #[error("a jump goes nowhere")]
    Unplaced,
    /// A jump's distance has 16 bits.
    #[error("a jump is too far: there are too many conditions")]
    TooFar,
}

/// A program in the making.
#[derive(Debug, Default)]
pub struct Asm {
    code: Vec<[u8; 8]>,
    places: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

const LDX: u8 = 0x61;
const ST: u8 = 0x62;
const STX: u8 = 0x63;
const ALU64: u8 = 0x07;
const JMP: u8 = 0x05;
const SRC_REG: u8 = 0x08;

impl Asm {
    fn put(&mut self, op: u8, dst: Reg, src: u8, off: i16, imm: i32) {
        let [o0, o1] = off.to_le_bytes();
        let [i0, i1, i2, i3] = imm.to_le_bytes();
        self.code.push([op, dst as u8 | src << 4, o0, o1, i0, i1, i2, i3]);
    }

    fn wide(&mut self, dst: Reg, src: u8, low: u32, high: u32) {
        self.put(0x18, dst, src, 0, low.cast_signed());
        self.put(0, Reg::R0, 0, 0, high.cast_signed());
    }

    /// `dst = dst OP value`.
    pub fn alu(&mut self, op: Alu, dst: Reg, value: impl Into<Value>) {
        match value.into() {
            Value::Reg(src) => self.put(ALU64 | SRC_REG | op as u8, dst, src as u8, 0, 0),
            Value::Imm(imm) => self.put(ALU64 | op as u8, dst, 0, 0, imm),
        }
    }

    /// `dst = value`.
    pub fn mov(&mut self, dst: Reg, value: impl Into<Value>) {
        self.alu(Alu::Mov, dst, value);
    }

    /// `dst = value`, all 64 bits of it.
    pub fn mov64(&mut self, dst: Reg, value: u64) {
        let [low, high] = [value & 0xffff_ffff, value >> 32].map(|half| u32::try_from(half).unwrap_or(0));
        self.wide(dst, 0, low, high);
    }

    /// `dst` = the map behind a descriptor of the loading process.
    pub fn map(&mut self, dst: Reg, fd: i32) {
        self.wide(dst, 1, fd.cast_unsigned(), 0);
    }

    /// `dst` = its lower 16 bits, which were a big-endian number.
    pub fn from_be16(&mut self, dst: Reg) {
        self.put(0xdc, dst, 0, 0, 16);
    }

    /// `dst = *(base + off)`.
    pub fn load(&mut self, size: Size, dst: Reg, base: Reg, off: i16) {
        self.put(LDX | size as u8, dst, base as u8, off, 0);
    }

    /// `*(base + off) = value`.
    pub fn store(&mut self, size: Size, base: Reg, off: i16, value: impl Into<Value>) {
        match value.into() {
            Value::Reg(src) => self.put(STX | size as u8, base, src as u8, off, 0),
            Value::Imm(imm) => self.put(ST | size as u8, base, 0, off, imm),
        }
    }

    /// `dst` = the address of the stack's byte `off` (negative).
    pub fn stack(&mut self, dst: Reg, off: i16) {
        self.mov(dst, Reg::R10);
        self.alu(Alu::Add, dst, i32::from(off));
    }

    /// Calls a helper.
    pub fn call(&mut self, helper: Helper) {
        self.put(JMP | 0x80, Reg::R0, 0, 0, helper as i32);
    }

    /// A label for a place to come.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The label's place is here.
    pub fn place(&mut self, label: Label) {
        if let Some(place) = self.places.get_mut(label.0) {
            *place = Some(self.code.len());
        }
    }

    /// Jumps if `left COND right`.
    pub fn jump_if(&mut self, left: Reg, cond: Cond, right: impl Into<Value>, to: Label) {
        self.jumps.push((self.code.len(), to));
        match right.into() {
            Value::Reg(src) => self.put(JMP | SRC_REG | cond as u8, left, src as u8, 0, 0),
            Value::Imm(imm) => self.put(JMP | cond as u8, left, 0, 0, imm),
        }
    }

    /// Jumps.
    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.put(JMP, Reg::R0, 0, 0, 0);
    }

    /// Ends the program with the result 0.
    pub fn exit(&mut self) {
        self.mov(Reg::R0, 0);
        self.put(JMP | 0x90, Reg::R0, 0, 0, 0);
    }

    /// The finished instructions, 8 bytes each.
    pub fn finish(mut self) -> Result<Vec<u8>, AsmError> {
        for (at, label) in self.jumps {
            let to = self.places.get(label.0).copied().flatten().ok_or(AsmError::Unplaced)?;
            let from = at + 1;
            let distance = if to >= from { i16::try_from(to - from) } else { i16::try_from(from - to).map(i16::neg) };
            let [low, high] = distance.map_err(|_| AsmError::TooFar)?.to_le_bytes();
            if let Some([_, _, off0, off1, ..]) = self.code.get_mut(at) {
                (*off0, *off1) = (low, high);
            }
        }
        Ok(self.code.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(build: impl FnOnce(&mut Asm)) -> Vec<u8> {
        let mut asm = Asm::default();
        build(&mut asm);
        asm.finish().unwrap()
    }

    #[test]
    fn encodings_are_those_of_the_rfc() {
        assert_eq!(code(|a| a.mov(Reg::R6, Reg::R1)), [0xbf, 0x16, 0, 0, 0, 0, 0, 0]);
        assert_eq!(code(|a| a.mov(Reg::R2, -1)), [0xb7, 0x02, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(code(|a| a.alu(Alu::And, Reg::R7, Reg::R0)), [0x5f, 0x07, 0, 0, 0, 0, 0, 0]);
        assert_eq!(code(|a| a.load(Size::Double, Reg::R1, Reg::R6, 8)), [0x79, 0x61, 8, 0, 0, 0, 0, 0]);
        assert_eq!(code(|a| a.load(Size::Half, Reg::R1, Reg::R10, -6)), [0x69, 0xa1, 0xfa, 0xff, 0, 0, 0, 0]);
        assert_eq!(code(|a| a.store(Size::Word, Reg::R10, -4, Reg::R0)), [0x63, 0x0a, 0xfc, 0xff, 0, 0, 0, 0]);
        assert_eq!(code(|a| a.store(Size::Double, Reg::R10, -8, 3)), [0x7a, 0x0a, 0xf8, 0xff, 3, 0, 0, 0]);
        assert_eq!(code(|a| a.from_be16(Reg::R1)), [0xdc, 1, 0, 0, 16, 0, 0, 0]);
        assert_eq!(code(|a| a.call(Helper::SendSignal)), [0x85, 0, 0, 0, 109, 0, 0, 0]);
        assert_eq!(code(Asm::exit), [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn wide_constants_take_two_places() {
        let wide = code(|a| a.mov64(Reg::R3, 0x1122_3344_8899_aabb));
        assert_eq!(wide, [0x18, 3, 0, 0, 0xbb, 0xaa, 0x99, 0x88, 0, 0, 0, 0, 0x44, 0x33, 0x22, 0x11]);
        assert_eq!(code(|a| a.map(Reg::R1, 5))[..8], [0x18, 0x11, 0, 0, 5, 0, 0, 0]);
    }

    #[test]
    fn jumps_count_from_the_next_instruction() {
        let both = code(|a| {
            let (back, on) = (a.label(), a.label());
            a.place(back);
            a.jump_if(Reg::R1, Cond::Eq, 7, on);
            a.jump(back);
            a.place(on);
            a.exit();
        });
        assert_eq!(both[..16], [0x15, 1, 1, 0, 7, 0, 0, 0, 0x05, 0, 0xfe, 0xff, 0, 0, 0, 0]);
    }

    #[test]
    fn bad_jumps_are_refused() {
        let mut asm = Asm::default();
        let nowhere = asm.label();
        asm.jump(nowhere);
        assert_eq!(asm.finish(), Err(AsmError::Unplaced));
        let mut asm = Asm::default();
        let far = asm.label();
        asm.jump(far);
        (0..40_000).for_each(|_| asm.mov(Reg::R0, 0));
        asm.place(far);
        assert_eq!(asm.finish(), Err(AsmError::TooFar));
    }
}
