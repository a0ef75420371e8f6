//! Which keys of appends may be in their place in the database.
//!
//! **Job.** Answer most questions for a key without asking the database: a key that was never given is what nearly every append
//! brings. **Called by** `log`, `settle` (note keys), `writer` (turns the days). A Bloom filter for each of the two days in which
//! keys are looked for.
//!
//! Invariants
//! 1. A key that is in `madang_sent` is never denied. It may be suspected wrongly: the database is asked then.
//! 2. It takes [`BITS`] a day, whatever number of keys there are.
//!
//! Not here: keys at the end of the log (`tail`).

use rusqlite::Connection;

use super::int;
use super::tail::KeyBytes;

/// Bits for a day: 512 KiB. With 300,000 keys one of 100 is suspected wrongly, with a million one of seven.
const BITS: u64 = 1 << 22;
/// Bits a key sets.
const MARKS: usize = 3;
/// A day with more keys than this is not read at the start: each of its keys is looked for in the database.
const READ_MAX: usize = 100_000;

/// The keys of today and of yesterday.
#[derive(Debug, Default)]
pub(super) struct Seen {
    days: Vec<Day>,
}

#[derive(Debug)]
struct Day {
    day: u64,
    /// Empty: not known, every key is suspected.
    bits: Vec<u64>,
}

impl Seen {
    /// Looks at the days in which keys are looked for from now on. Cheap while the day is the same.
    ///
    /// # Errors
    /// The database's: everything is suspected until a look succeeds.
    pub(super) fn turn(&mut self, connection: &Connection, today: u64) -> rusqlite::Result<()> {
        if self.days.first().is_some_and(|first| first.day == today) {
            return Ok(());
        }
        let (mut before, mut days) = (std::mem::take(&mut self.days), Vec::new());
        for day in [Some(today), today.checked_sub(1)].into_iter().flatten() {
            // What a day holds only grows while it is looked at.
            let known = before.iter().position(|known| known.day == day);
            days.push(match known {
                Some(at) => before.swap_remove(at),
                None => Day::read(connection, day)?,
            });
        }
        // Both or none: a day that could not be read must not pass for an empty one.
        self.days = days;
        Ok(())
    }

    /// A key goes to the database.
    pub(super) fn note(&mut self, day: u64, stream: i64, key: &KeyBytes) {
        // A key of an older day is not looked for any more.
        if let Some(day) = self.days.iter_mut().find(|known| known.day == day) {
            day.note(stream, key);
        }
    }

    /// Whether the database has to be asked for it. `today`: as in the last [`Self::turn`], else everything is suspected.
    pub(super) fn suspects(&self, today: u64, stream: i64, key: &KeyBytes) -> bool {
        let is_today = self.days.first().is_some_and(|first| first.day == today);
        !is_today || self.days.iter().any(|day| day.suspects(stream, key))
    }
}

impl Day {
    fn read(connection: &Connection, day: u64) -> rusqlite::Result<Self> {
        let mut this = Self { day, bits: vec![0; usize::try_from(BITS / 64).unwrap_or(0)] };
        let sql = "SELECT stream, key FROM madang_sent WHERE day = ?1 LIMIT ?2";
        let mut select = connection.prepare_cached(sql)?;
        let most = i64::try_from(READ_MAX).unwrap_or(i64::MAX) + 1;
        let mut rows = select.query((int(day), most))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            count += 1;
            match row.get::<_, KeyBytes>(1) {
                Ok(key) if count <= READ_MAX => this.note(row.get(0)?, &key),
                // Too many, or not as we write them.
                _ => {
                    this.bits = Vec::new();
                    break;
                }
            }
        }
        Ok(this)
    }

    fn note(&mut self, stream: i64, key: &KeyBytes) {
        for (word, bit) in marks(stream, key) {
            if let Some(word) = self.bits.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn suspects(&self, stream: i64, key: &KeyBytes) -> bool {
        marks(stream, key)
            .into_iter()
            .all(|(word, bit)| self.bits.get(word).is_none_or(|word| word & bit != 0))
    }
}

/// Words and bits of a key. It is half of a SHA-256: any of its bits are as good as those of a hash.
fn marks(stream: i64, key: &KeyBytes) -> [(usize, u64); MARKS] {
    let number = u128::from_le_bytes(*key);
    let mark = |at: u32| {
        let bit = u64::try_from((number >> (at * 40)) & u128::from(u64::MAX >> 24)).unwrap_or(0);
        // The same key of another stream is another key.
        let bit = (bit ^ stream.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15)) % BITS;
        (usize::try_from(bit / 64).unwrap_or(0), 1_u64 << (bit % 64))
    };
    [mark(0), mark(1), mark(2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let sql =
            "CREATE TABLE madang_sent (day INTEGER, stream INTEGER, key BLOB, first INTEGER, count INTEGER)";
        connection.execute_batch(sql).unwrap();
        connection
    }

    fn key(number: u64) -> KeyBytes {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &number.to_le_bytes());
        digest.as_ref()[..16].try_into().unwrap()
    }

    fn insert(connection: &Connection, day: u64, stream: i64, key: &KeyBytes) {
        let sql = "INSERT INTO madang_sent VALUES (?1, ?2, ?3, 1, 1)";
        connection.execute(sql, (int(day), stream, key)).unwrap();
    }

    // Goal: no key of today or yesterday is denied, whether it was found at the start or noted later, over every turn of days;
    // others are denied nearly always.
    #[test]
    fn a_key_that_is_there_is_never_denied() {
        let connection = database();
        for number in 0..5_000 {
            insert(&connection, 9 + number % 3, 7, &key(number));
        }
        let mut seen = Seen::default();
        assert!(seen.suspects(10, 7, &key(0)), "before the first look everything is suspected");
        for today in [11, 12, 10, 11] {
            seen.turn(&connection, today).unwrap();
            let noted = key(1_000_000 + today);
            seen.note(today, 7, &noted);
            insert(&connection, today, 7, &noted);
            for number in (0..5_000).filter(|number| [today, today - 1].contains(&(9 + number % 3))) {
                assert!(seen.suspects(today, 7, &key(number)));
            }
            assert!(seen.suspects(today, 7, &noted));
            assert!(seen.suspects(today + 1, 7, &key(77)), "of a day that was not looked at");
            let wrongly =
                (0..10_000).filter(|other| seen.suspects(today, 7, &key(2_000_000 + other))).count();
            assert!(wrongly < 10, "{wrongly} of 10,000");
            let elsewhere = (0..5_000).filter(|number| seen.suspects(today, 8, &key(*number))).count();
            assert!(elsewhere < 10, "{elsewhere} of 5,000 of another stream");
        }
    }

    #[test]
    fn a_day_that_could_not_be_read_does_not_pass_for_an_empty_one() {
        let connection = database();
        insert(&connection, 4, 1, &key(1));
        let mut seen = Seen::default();
        seen.turn(&connection, 6).unwrap();
        connection.execute_batch("ALTER TABLE madang_sent RENAME TO away").unwrap();
        // The day before is known still, the one before that is not.
        seen.turn(&connection, 5).unwrap_err();
        assert!(seen.suspects(5, 1, &key(1)));
        connection.execute_batch("ALTER TABLE away RENAME TO madang_sent").unwrap();
        seen.turn(&connection, 5).unwrap();
        assert!(seen.suspects(5, 1, &key(1)) && !seen.suspects(5, 1, &key(2)));
    }

    #[test]
    fn a_day_with_too_many_keys_is_left_to_the_database() {
        let connection = database();
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= ?1) \
                   INSERT INTO madang_sent SELECT 5, 1, randomblob(16), 1, 1 FROM n";
        connection.execute(sql, [i64::try_from(READ_MAX).unwrap()]).unwrap();
        let mut seen = Seen::default();
        seen.turn(&connection, 5).unwrap();
        assert!(seen.suspects(5, 1, &key(1)));
        seen.turn(&connection, 7).unwrap();
        assert!(!seen.suspects(7, 1, &key(1)));
    }
}
