//! A private sentry's doors: sockets of sequenced packets on which supervisors of one user pass it descriptors, one a packet with a
//! number that says what it is. So containers that share namespaces come to share a sentry that listens nowhere.
//!
//! Each supervisor that uses the sentry has a door. Another one that wants to makes a pair of sockets, has one end passed through a
//! door that there is, and has with the other a door of its own: through that it passes what its session needs, and its session.

/// What is passed through a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// The socket of a gofer of the next session, in the order of `Sandbox.gofers`.
    Gofer,
    /// The socket of the next session's broker of internet sockets.
    Broker,
    /// The socket on which a session will be opened; its Hello shows the token as `relay_token`.
    Session(GuestToken),
    /// Another supervisor's door.
    Door,
}

/// Tells a session what was passed for it from what was passed for others. Not a secret: who has a door is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestToken(u64);

const SESSION: u64 = 1 << 63;

impl GuestToken {
    /// From random bits.
    pub fn new(random: u64) -> Self {
        Self(random | SESSION)
    }

    /// As Hello has it.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// From a Hello; none: it shows none, or that of relayed gofers.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let number = u64::from_be_bytes(bytes.try_into().ok()?);
        (number & SESSION != 0).then_some(Self(number))
    }
}

impl Offer {
    /// The packet's number.
    pub fn number(self) -> u64 {
        match self {
            Self::Gofer => 1,
            Self::Broker => 2,
            Self::Door => 3,
            Self::Session(GuestToken(number)) => number,
        }
    }

    /// From a packet's number; none: it means nothing.
    pub fn parse(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Gofer),
            2 => Some(Self::Broker),
            3 => Some(Self::Door),
            _ if number & SESSION != 0 => Some(Self::Session(GuestToken(number))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let token = GuestToken::new(7);
        for offer in [Offer::Gofer, Offer::Broker, Offer::Door, Offer::Session(token)] {
            assert_eq!(Offer::parse(offer.number()), Some(offer));
        }
        assert_eq!(Offer::parse(0), None);
        assert_eq!(Offer::parse(4), None);
        assert_eq!(GuestToken::parse(&token.to_bytes()), Some(token));
        assert_eq!(GuestToken::parse(&[0; 8]), None);
        assert_eq!(GuestToken::parse(&[255; 32]), None);
        assert_eq!(GuestToken::parse(&[]), None);
    }
}
