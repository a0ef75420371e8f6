//! The codings themselves: zstd, brotli, gzip.
//!
//! **Job.** Compress one file into memory, or say that it is not worth it.
//! **Called by** `made`, on the worker for small files and on a blocking thread for large ones. Pure but for its reader.
//!
//! Invariants
//! 1. The result is at least a sixteenth smaller than the file; compressing stops as soon as that is lost.
//! 2. Memory is bounded whatever the file: windows of at most 1 MiB (brotli) and 2 MiB (zstd), far below what
//!    clients must be able to read (RFC 8878 3.1.1.1.2, RFC 9659: 8 MiB).
//!
//! Not here: which coding (`encoding`), remembering (`made`).

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::encoding::Coding;

// Middle levels: the result is remembered, but somebody waits for it the first time.
const BROTLI_QUALITY: u32 = 5;
const BROTLI_WINDOW_BITS: u32 = 20;
const ZSTD_LEVEL: i32 = 6;
const ZSTD_WINDOW_BITS: u32 = 21;
const GZIP_LEVEL: u32 = 6;
const PIECE_BYTES: usize = 64 * 1024;

/// Compresses `length` bytes of `from`. `Ok(None)`: it gains too little.
///
/// # Errors
/// What reading gave, or `UnexpectedEof` where there are not exactly `length` bytes.
pub(super) fn compress(coding: Coding, from: impl Read, length: u64) -> io::Result<Option<Bytes>> {
    // At least one byte less, also for the shortest.
    let room = usize::try_from(length.saturating_sub((length / 16).max(1))).unwrap_or(usize::MAX);
    let mut out = Room { bytes: Vec::with_capacity(room.min(PIECE_BYTES)), room, full: false };
    let done = match coding {
        Coding::Brotli => {
            let mut writer =
                brotli::CompressorWriter::new(&mut out, 4096, BROTLI_QUALITY, BROTLI_WINDOW_BITS);
            // The end is written when it is dropped; that it fitted is seen by `full`.
            copy(from, &mut writer, length)
        }
        Coding::Zstd => {
            let mut writer = zstd::stream::write::Encoder::new(&mut out, ZSTD_LEVEL)?;
            writer.window_log(ZSTD_WINDOW_BITS)?;
            writer.set_pledged_src_size(Some(length))?;
            copy(from, &mut writer, length).and_then(|()| writer.do_finish())
        }
        Coding::Gzip => {
            let level = flate2::Compression::new(GZIP_LEVEL);
            let mut writer = flate2::GzBuilder::new().write(&mut out, level);
            copy(from, &mut writer, length).and_then(|()| writer.try_finish())
        }
    };
    match done {
        _ if out.full => Ok(None),
        Ok(()) => Ok(Some(Bytes::from(out.bytes.into_boxed_slice()))),
        Err(error) => Err(error),
    }
}

fn copy(mut from: impl Read, to: &mut impl Write, length: u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(length).unwrap_or(PIECE_BYTES)).max(1)];
    let mut left = length;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(PIECE_BYTES).min(piece.len());
        from.read_exact(&mut piece[..want])?;
        to.write_all(&piece[..want])?;
        left -= want as u64;
    }
    Ok(())
}

/// Memory that refuses to grow past what would still be a gain.
struct Room {
    bytes: Vec<u8>,
    room: usize,
    full: bool,
}

impl Write for Room {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > self.room {
            self.full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn decompress(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Brotli => drop(brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out).unwrap()),
            Coding::Zstd => out = zstd::stream::decode_all(bytes).unwrap(),
            Coding::Gzip => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap()),
        }
        out
    }

    // Brotli makes 13 bytes of these 13: no gain is no form worth keeping.
    #[test]
    fn what_comes_out_as_long_as_it_went_in_is_not_kept() {
        let text = b"aaaaaaaaaaaba";
        for coding in Coding::BY_SIZE {
            let made = compress(coding, &text[..], text.len() as u64).unwrap();
            assert!(made.is_none_or(|small| small.len() < text.len()), "{coding:?}");
        }
    }

    // Goal: every coding gives the file back, smaller; noise is left alone; a file cut short is an error.
    #[test]
    fn codings_give_the_file_back() {
        let text =
            "마당은 집의 한가운데다. The courtyard is the middle of the house.\n".repeat(4000).into_bytes();
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(100_000)
        .collect();
        for coding in Coding::BY_SIZE {
            let small = compress(coding, &text[..], text.len() as u64).unwrap().expect("text shrinks");
            assert!(small.len() < text.len() / 20, "{coding:?}: {}", small.len());
            assert_eq!(decompress(coding, &small), text);
            assert_eq!(compress(coding, &noise[..], noise.len() as u64).unwrap(), None, "{coding:?}");
            assert!(compress(coding, &text[1..], text.len() as u64).is_err(), "{coding:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(text in "[ab]{0,4000}", pick in 0_usize..3) {
            let coding = Coding::BY_SIZE[pick];
            if let Some(small) = compress(coding, text.as_bytes(), text.len() as u64).unwrap() {
                prop_assert!(small.len() < text.len());
                prop_assert_eq!(decompress(coding, &small), text.as_bytes());
            }
        }
    }
}
