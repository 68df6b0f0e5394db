//! Terminals, ioctl_tty(2).

abi_struct! {
    /// The kernel's `struct termios` (`TCGETS`): not the C library's, which is longer.
    36 struct Termios {
        c_iflag: u32,
        c_oflag: u32,
        c_cflag: u32,
        c_lflag: u32,
        c_line: u8,
        c_cc: [u8; 19],
    }

    /// The kernel's `struct termios2` (`TCGETS2`).
    44 struct Termios2 {
        c_iflag: u32,
        c_oflag: u32,
        c_cflag: u32,
        c_lflag: u32,
        c_line: u8,
        c_cc: [u8; 19],
        c_ispeed: u32,
        c_ospeed: u32,
    }

    /// `struct winsize` (`TIOCGWINSZ`).
    8 struct Winsize {
        ws_row: u16,
        ws_col: u16,
        ws_xpixel: u16,
        ws_ypixel: u16,
    }
}
