//! Numbers and texts, one after the other.

use std::fmt;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// They are of another version, or nothing of ours.
    Version,
    /// They end too early.
    Short,
    /// There are more of them than the message has.
    Long,
    /// A value is none that its place takes.
    Value(&'static str),
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str(
                "the message is of another version: let router and server be of one release",
            ),
            Self::Short => f.write_str("the message ends too early: send all of it"),
            Self::Long => f.write_str("the message goes on after its end: send one at a time"),
            Self::Value(what) => write!(f, "the message has no valid {what}"),
        }
    }
}

impl std::error::Error for Torn {}

/// Reads from the front of some bytes.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads a message that begins with `magic`.
    pub(super) fn new(bytes: &'a [u8], magic: [u8; 4]) -> Result<Self, Torn> {
        let rest = bytes.strip_prefix(&magic).ok_or(Torn::Version)?;
        Ok(Self(rest))
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Torn> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Torn::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Torn> {
        self.take(N)?.try_into().map_err(|_| Torn::Short)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Torn> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Torn> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Torn> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Torn> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn f32(&mut self) -> Result<f32, Torn> {
        self.u32().map(f32::from_bits)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Torn> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            2.. => Err(Torn::Value("yes or no")),
        }
    }

    pub(super) fn block(&mut self) -> Result<&'a [u8], Torn> {
        let length = usize::try_from(self.u32()?).map_err(|_| Torn::Short)?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<String, Torn> {
        let bytes = self.block()?;
        let text = std::str::from_utf8(bytes).map_err(|_| Torn::Value("text in UTF-8"))?;
        Ok(text.to_owned())
    }

    /// A number of things, each of which takes `least` bytes: there is room for no more.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, Torn> {
        let count = usize::try_from(self.u32()?).map_err(|_| Torn::Short)?;
        match count.checked_mul(least) {
            Some(bytes) if bytes <= self.0.len() => Ok(count),
            Some(_) | None => Err(Torn::Short),
        }
    }

    pub(super) fn end(self) -> Result<(), Torn> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Torn::Long)
        }
    }
}

/// Writes at the end of some bytes.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn new(magic: [u8; 4], capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity + magic.len());
        bytes.extend(magic);
        Self(bytes)
    }

    pub(super) fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    pub(super) fn u16(&mut self, number: u16) {
        self.0.extend(number.to_le_bytes());
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    /// A length. What is longer than 4 GiB is longer than any body may be, and is refused by its reader.
    pub(super) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(super) fn block(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend(bytes);
    }
}
