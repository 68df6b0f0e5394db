//! Sockets: addresses and messages.

abi_struct! {
    /// `struct msghdr` (`user_msghdr`), sendmsg(2).
    56 struct Msghdr {
        msg_name: u64,
        msg_namelen: i32,
        __pad0: u32,
        msg_iov: u64,
        msg_iovlen: u64,
        msg_control: u64,
        msg_controllen: u64,
        msg_flags: u32,
        __pad1: u32,
    }

    /// `struct mmsghdr`, sendmmsg(2).
    64 struct Mmsghdr {
        msg_hdr: Msghdr,
        msg_len: u32,
        __pad0: u32,
    }

    /// `struct cmsghdr`, cmsg(3).
    16 struct Cmsghdr {
        cmsg_len: u64,
        cmsg_level: i32,
        cmsg_type: i32,
    }

    /// `struct sockaddr_in`; port and address in network order.
    16 struct SockaddrIn {
        sin_family: u16,
        sin_port: [u8; 2],
        sin_addr: [u8; 4],
        sin_zero: [u8; 8],
    }

    /// `struct sockaddr_in6`; port, flow and address in network order.
    28 struct SockaddrIn6 {
        sin6_family: u16,
        sin6_port: [u8; 2],
        sin6_flowinfo: [u8; 4],
        sin6_addr: [u8; 16],
        sin6_scope_id: u32,
    }

    /// `struct sockaddr_un`.
    110 struct SockaddrUn {
        sun_family: u16,
        sun_path: [u8; 108],
    }

    /// `struct sockaddr_storage`: the most that an address takes.
    128 struct SockaddrStorage {
        ss_family: u16,
        __ss_padding: [u8; 118],
        __ss_align: [u8; 8],
    }

    /// `struct sockaddr_nl`.
    12 struct SockaddrNl {
        nl_family: u16,
        nl_pad: u16,
        nl_pid: u32,
        nl_groups: u32,
    }

    /// `struct ucred`, unix(7).
    12 struct Ucred {
        pid: i32,
        uid: u32,
        gid: u32,
    }

    /// `struct linger`, socket(7).
    8 struct Linger {
        l_onoff: i32,
        l_linger: i32,
    }

    /// `struct ifconf`, netdevice(7).
    16 struct Ifconf {
        ifc_len: i32,
        __pad0: u32,
        ifc_buf: u64,
    }

    /// `struct ifreq`, netdevice(7).
    40 struct Ifreq {
        ifr_name: [u8; 16],
        ifr_data: [u8; 24],
    }

}

/// Families of addresses.
pub mod af {
    #![allow(missing_docs)]
    pub const UNSPEC: u16 = 0;
    pub const UNIX: u16 = 1;
    pub const INET: u16 = 2;
    pub const INET6: u16 = 10;
    pub const NETLINK: u16 = 16;
    pub const PACKET: u16 = 17;
    pub const VSOCK: u16 = 40;
}

/// Largest control message buffer that a call may give (`optmem_max`-like bound of rsc).
pub const CONTROL_MAX: usize = 131_072;
/// Most descriptors in one `SCM_RIGHTS`.
pub const SCM_MAX_FD: usize = 253;

/// Bytes that a control message with this much data takes, padding included (`CMSG_SPACE`).
pub const fn cmsg_space(data: usize) -> usize {
    ((data + 7) & !7) + Cmsghdr::SIZE
}
