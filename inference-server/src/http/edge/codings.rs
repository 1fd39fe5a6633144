//! Content codings of request bodies (RFC 9110, section 8.4).
//!
//! Owns which codings there are and how each is undone. Invariants: nothing larger than the limit is
//! made, whatever a body claims; a body is undone to its very end or refused, so that nothing of it
//! is silently left out.

use std::io::Read;

use axum::http::{HeaderMap, header};
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use inference_api::Problem;

/// Codings of one body. More than two or three are nobody's intention.
const MOST: usize = 4;
/// Made at once.
const PIECE: usize = 32 * 1024;
/// 8 MiB, which is what RFC 8878 asks every decoder for: the memory of a window is the client's choice.
const ZSTD_WINDOW: u32 = 23;

/// One way to compress a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    /// zlib, or what it contains, which some clients send in its place.
    Deflate,
    Brotli,
    Zstd,
}

/// Why a body cannot be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undone {
    TooLarge,
    Broken,
}

/// The codings of a body, in the order in which they were applied.
///
/// # Errors
/// 415 where one is unknown.
pub(crate) fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, Problem> {
    let unknown = || {
        Problem::unsupported_media_type(
            "send the body as it is, or compressed with gzip, deflate, br or zstd",
        )
    };
    let mut found = Vec::new();
    for line in headers.get_all(header::CONTENT_ENCODING) {
        let line = line.to_str().map_err(|_| unknown())?;
        let names = line.split(',').map(str::trim);
        // An empty element of a list counts for nothing; an empty list is none.
        if names.clone().all(str::is_empty) {
            return Err(unknown());
        }
        for name in names.filter(|name| !name.is_empty()) {
            match name.to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => found.push(Coding::Gzip),
                "deflate" => found.push(Coding::Deflate),
                "br" => found.push(Coding::Brotli),
                "zstd" => found.push(Coding::Zstd),
                "identity" => {}
                _ => return Err(unknown()),
            }
        }
    }
    if found.len() > MOST {
        return Err(unknown());
    }
    Ok(found)
}

impl Coding {
    /// What `bytes` were before, at most `limit` bytes.
    pub(crate) fn undo(self, bytes: &[u8], limit: usize) -> Result<Vec<u8>, Undone> {
        match self {
            Self::Gzip => read(MultiGzDecoder::new(bytes), limit),
            Self::Deflate => match inflate(bytes, true, limit) {
                Err(Undone::Broken) => inflate(bytes, false, limit),
                outcome => outcome,
            },
            Self::Brotli => brotli(bytes, limit),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(bytes);
                let mut decoder = decoder.map_err(|_| Undone::Broken)?;
                let bounded = decoder.window_log_max(ZSTD_WINDOW);
                bounded.map_err(|_| Undone::Broken)?;
                read(decoder, limit)
            }
        }
    }
}

/// All members or frames, one after the other, are one body.
fn read(decoder: impl Read, limit: usize) -> Result<Vec<u8>, Undone> {
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = decoder.take(most).read_to_end(&mut out);
    if out.len() > limit {
        return Err(Undone::TooLarge);
    }
    read.map_err(|_| Undone::Broken)?;
    Ok(out)
}

fn inflate(bytes: &[u8], zlib: bool, limit: usize) -> Result<Vec<u8>, Undone> {
    let mut state = Decompress::new(zlib);
    let mut out = Vec::new();
    loop {
        let (read, made) = (state.total_in(), out.len());
        let rest = usize::try_from(read)
            .ok()
            .and_then(|read| bytes.get(read..));
        let rest = rest.ok_or(Undone::Broken)?;
        out.reserve(PIECE);
        let status = state.decompress_vec(rest, &mut out, FlushDecompress::None);
        if out.len() > limit {
            return Err(Undone::TooLarge);
        }
        match status.map_err(|_| Undone::Broken)? {
            Status::StreamEnd if state.total_in() == bytes.len() as u64 => return Ok(out),
            Status::StreamEnd => return Err(Undone::Broken),
            Status::Ok | Status::BufError if state.total_in() == read && out.len() == made => {
                return Err(Undone::Broken);
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

fn brotli(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Undone> {
    let alloc = StandardAlloc::default();
    let mut state = BrotliState::new(alloc, alloc, alloc);
    let (mut left, mut read, mut total) = (bytes.len(), 0, 0);
    let mut out = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let (mut room, mut made) = (piece.len(), 0);
        let result = BrotliDecompressStream(
            &mut left, &mut read, bytes, &mut room, &mut made, &mut piece, &mut total, &mut state,
        );
        out.extend_from_slice(piece.get(..made).unwrap_or_default());
        if out.len() > limit {
            return Err(Undone::TooLarge);
        }
        match result {
            BrotliResult::ResultSuccess if left == 0 => return Ok(out),
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultSuccess
            | BrotliResult::NeedsMoreInput
            | BrotliResult::ResultFailure => return Err(Undone::Broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &[u8] = br#"{"text": "a"}"#;
    /// The same, by the reference encoder of brotli.
    const BROTLI: &[u8] = &[
        0x0b, 0x06, 0x80, 0x7b, 0x22, 0x74, 0x65, 0x78, 0x74, 0x22, 0x3a, 0x20, 0x22, 0x61, 0x22,
        0x7d, 0x03,
    ];

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 3).unwrap()
    }

    fn named(names: &[&str]) -> Result<Vec<Coding>, u16> {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append("content-encoding", HeaderValue::from_str(name).unwrap());
        }
        codings(&headers).map_err(|problem| problem.status)
    }

    #[test]
    fn names_have_any_case_and_old_names_and_come_in_lists() {
        use Coding::{Brotli, Deflate, Gzip, Zstd};
        for name in [
            "gzip",
            "GZIP",
            "x-gzip",
            "X-Gzip",
            "identity, gzip",
            ",gzip, ,",
        ] {
            assert_eq!(named(&[name]), Ok(vec![Gzip]), "{name}");
        }
        assert_eq!(
            named(&["deflate", "BR, zstd"]),
            Ok(vec![Deflate, Brotli, Zstd])
        );
        assert_eq!(named(&["Identity"]), Ok(vec![]));
        assert_eq!(named(&[]), Ok(vec![]));
        for name in [
            "compress",
            "x-compress",
            "gzipp",
            "",
            "gzip;q=1",
            "gzip,gzip,gzip,gzip,gzip",
        ] {
            assert_eq!(named(&[name]), Err(415), "{name}");
        }
    }

    #[test]
    fn a_body_of_several_members_or_frames_is_one() {
        let two = |encode: fn(&[u8]) -> Vec<u8>| [encode(&TEXT[..5]), encode(&TEXT[5..])].concat();
        assert_eq!(Coding::Gzip.undo(&two(gzip), 100).unwrap(), TEXT);
        assert_eq!(Coding::Zstd.undo(&two(zstd), 100).unwrap(), TEXT);
        assert_eq!(Coding::Deflate.undo(&zlib(TEXT), 100).unwrap(), TEXT);
        assert_eq!(Coding::Deflate.undo(&raw(TEXT), 100).unwrap(), TEXT);
        assert_eq!(Coding::Brotli.undo(BROTLI, 100).unwrap(), TEXT);
    }

    fn all() -> [(Coding, Vec<u8>); 5] {
        [
            (Coding::Gzip, gzip(TEXT)),
            (Coding::Zstd, zstd(TEXT)),
            (Coding::Deflate, zlib(TEXT)),
            (Coding::Deflate, raw(TEXT)),
            (Coding::Brotli, BROTLI.to_vec()),
        ]
    }

    #[test]
    fn what_does_not_end_where_it_says_is_broken() {
        for (coding, body) in all() {
            for tail in [&b"x"[..], b"garbage behind the end", &body[..1]] {
                let longer = [&body[..], tail].concat();
                let undone = coding.undo(&longer, 1_000);
                assert_eq!(undone, Err(Undone::Broken), "{coding:?} {tail:?}");
            }
            for length in 0..body.len() {
                // A zstd body of no frame is empty.
                let undone = coding.undo(&body[..length], 1_000);
                let nothing = length == 0 && undone == Ok(Vec::new());
                assert!(
                    undone == Err(Undone::Broken) || nothing,
                    "{coding:?} {length}"
                );
            }
        }
    }

    #[test]
    fn nothing_larger_than_the_limit_is_made() {
        for (coding, body) in all() {
            assert_eq!(coding.undo(&body, TEXT.len()).unwrap(), TEXT, "{coding:?}");
            let undone = coding.undo(&body, TEXT.len() - 1);
            assert_eq!(undone, Err(Undone::TooLarge), "{coding:?}");
        }
        let bomb = vec![b' '; 10_000_000];
        for (coding, body) in [
            (Coding::Gzip, gzip(&bomb)),
            (Coding::Zstd, zstd(&bomb)),
            (Coding::Deflate, zlib(&bomb)),
        ] {
            assert_eq!(
                coding.undo(&body, 1_000),
                Err(Undone::TooLarge),
                "{coding:?}"
            );
        }
    }
}
