//! The tables and functions of the store itself in PostgreSQL.
//!
//! **Job.** Make or renew them when a store is opened. **Called by** `postgres` at the start, `restore`.
//!
//! What must be one step under a lock is a function in the database (`madang_append` and its like): a group of them is
//! sent in one go and answered in one go, however many there are.
//!
//! Invariants
//! 1. Whoever appends to a stream holds its row's lock until the commit: the order of commits is the order of offsets.
//! 2. Two nodes that start at once make the tables once (advisory lock).
//!
//! Not here: tables of roles (`tables`), what the columns mean (`crate::log`).

use tokio_postgres::Client;

use super::fault;
use crate::error::StoreError;

/// Raised when the tables or functions below change.
const FORM: i64 = 2;
/// The lock of whoever makes tables; any number nobody else uses.
pub(crate) const LOCK: &str = "SELECT pg_advisory_xact_lock(7020948651320246375)";

const TABLES: &str = r#"
CREATE TABLE madang_meta (name text PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE madang_stream (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE,
    epoch bigint NOT NULL, first bigint NOT NULL, next bigint NOT NULL, bytes bigint NOT NULL, at_ms bigint NOT NULL);
CREATE TABLE madang_entry (
    id bigint PRIMARY KEY, at_ms bigint NOT NULL, edits int NOT NULL, removed bool NOT NULL,
    data bytea NOT NULL, text text NOT NULL, words tsvector NOT NULL);
CREATE INDEX madang_entry_words ON madang_entry USING gin (words);
CREATE TABLE madang_sent (
    day bigint NOT NULL, stream bigint NOT NULL, key bytea NOT NULL, token bigint NOT NULL,
    first bigint NOT NULL, count bigint NOT NULL, PRIMARY KEY (day, stream, key));
CREATE SEQUENCE madang_kv_version;
CREATE TABLE madang_kv (
    namespace text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, value bytea NOT NULL, version bigint NOT NULL,
    expires_ms bigint, PRIMARY KEY (namespace, key));
CREATE INDEX madang_kv_expires ON madang_kv (expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE madang_migration (
    owner text NOT NULL, number int NOT NULL, name text NOT NULL, checksum text NOT NULL, sqlite text NOT NULL,
    postgres text NOT NULL, at_ms bigint NOT NULL, PRIMARY KEY (owner, number));
"#;

const FUNCTIONS: &str = r#"
CREATE OR REPLACE FUNCTION madang_now_ms() RETURNS bigint LANGUAGE sql AS
$$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

CREATE OR REPLACE FUNCTION madang_stream_of(p_name text, p_epoch bigint) RETURNS madang_stream LANGUAGE plpgsql AS $$
DECLARE s madang_stream;
BEGIN
    LOOP
        SELECT * INTO s FROM madang_stream WHERE name = p_name FOR UPDATE;
        IF FOUND THEN RETURN s; END IF;
        INSERT INTO madang_stream (name, epoch, first, next, bytes, at_ms) VALUES (p_name, p_epoch, 1, 1, 0, 0)
            ON CONFLICT (name) DO NOTHING;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION madang_append(
    p_name text, p_epoch bigint, p_key bytea, p_token bigint, p_expect bigint, p_bytes bigint,
    p_data bytea[], p_text text[], p_words text[],
    OUT status int, OUT o_epoch bigint, OUT o_first bigint, OUT o_count bigint, OUT o_at bigint) LANGUAGE plpgsql AS $$
DECLARE s madang_stream; sent madang_sent; now_ms bigint; today bigint;
BEGIN
    IF p_expect <> 1 AND NOT EXISTS (SELECT 1 FROM madang_stream WHERE name = p_name) THEN
        status := 1; o_epoch := 0; o_first := 1; RETURN;
    END IF;
    s := madang_stream_of(p_name, p_epoch);
    now_ms := madang_now_ms();
    today := now_ms / 86400000;
    o_epoch := s.epoch;
    SELECT * INTO sent FROM madang_sent WHERE day IN (today, today - 1) AND stream = s.number AND key = p_key;
    IF FOUND THEN
        status := CASE WHEN sent.token = p_token THEN 0 ELSE 2 END;
        o_first := sent.first; o_count := sent.count;
        -- Trimmed meanwhile: the time of the newest entry there ever was.
        o_at := coalesce((SELECT at_ms FROM madang_entry WHERE id = (s.number << 36) | sent.first), s.at_ms);
        RETURN;
    END IF;
    IF p_expect <> s.next THEN
        status := 1; o_first := s.next; RETURN;
    END IF;
    status := 0; o_first := s.next; o_count := cardinality(p_data); o_at := greatest(now_ms, s.at_ms);
    INSERT INTO madang_entry (id, at_ms, edits, removed, data, text, words)
        SELECT (s.number << 36) | (s.next + place - 1), o_at, 0, false, e.data, e.text, e.words::tsvector
        FROM unnest(p_data, p_text, p_words) WITH ORDINALITY AS e (data, text, words, place);
    INSERT INTO madang_sent (day, stream, key, token, first, count)
        VALUES (today, s.number, p_key, p_token, s.next, o_count);
    UPDATE madang_stream SET next = s.next + o_count, bytes = s.bytes + p_bytes, at_ms = o_at WHERE number = s.number;
END $$;

CREATE OR REPLACE FUNCTION madang_change(
    p_name text, p_offset bigint, p_remove bool, p_data bytea, p_text text, p_words text,
    OUT status int, OUT o_at bigint, OUT o_edits int, OUT o_removed bool, OUT o_data bytea, OUT o_text text)
    LANGUAGE plpgsql AS $$
DECLARE s madang_stream; e madang_entry;
BEGIN
    status := 2;
    SELECT * INTO s FROM madang_stream WHERE name = p_name FOR UPDATE;
    IF NOT FOUND THEN RETURN; END IF;
    status := 1;
    IF p_offset < s.first OR p_offset >= s.next THEN RETURN; END IF;
    SELECT * INTO e FROM madang_entry WHERE id = (s.number << 36) | p_offset;
    IF NOT FOUND OR (e.removed AND NOT p_remove) THEN RETURN; END IF;
    status := 0;
    IF NOT e.removed THEN
        UPDATE madang_stream SET bytes = greatest(0, s.bytes + octet_length(p_data) + octet_length(p_text)
            - octet_length(e.data) - octet_length(e.text)) WHERE number = s.number;
        UPDATE madang_entry SET edits = e.edits + 1, removed = p_remove, data = p_data, text = p_text,
            words = p_words::tsvector WHERE id = e.id RETURNING * INTO e;
    END IF;
    o_at := e.at_ms; o_edits := e.edits; o_removed := e.removed; o_data := e.data; o_text := e.text;
END $$;

CREATE OR REPLACE FUNCTION madang_trim(
    p_name text, p_entries bigint, p_bytes bigint, p_age_ms bigint, p_most int,
    OUT status int, OUT o_entries bigint, OUT o_first bigint) LANGUAGE plpgsql AS $$
DECLARE s madang_stream; e record; left_bytes bigint; oldest bigint; youngest bigint;
BEGIN
    status := 2;
    SELECT * INTO s FROM madang_stream WHERE name = p_name FOR UPDATE;
    IF NOT FOUND THEN RETURN; END IF;
    status := 0; o_first := s.first; left_bytes := s.bytes;
    oldest := coalesce(s.next - p_entries, 0);
    youngest := coalesce(madang_now_ms() - p_age_ms, 0);
    FOR e IN SELECT id & ((1::bigint << 36) - 1) AS place, at_ms, octet_length(data) + octet_length(text) AS size
        FROM madang_entry WHERE id >= (s.number << 36 | s.first) AND id < (s.number << 36 | s.next)
        ORDER BY id LIMIT p_most
    LOOP
        EXIT WHEN e.place >= oldest AND e.at_ms >= youngest AND left_bytes <= coalesce(p_bytes, left_bytes);
        left_bytes := greatest(0, left_bytes - e.size);
        o_first := e.place + 1;
    END LOOP;
    o_entries := o_first - s.first;
    IF o_entries > 0 THEN
        DELETE FROM madang_entry WHERE id >= (s.number << 36 | s.first) AND id < (s.number << 36 | o_first);
        UPDATE madang_stream SET first = o_first, bytes = left_bytes WHERE number = s.number;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION madang_remove(p_name text, p_most int) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE gone bool;
BEGIN
    PERFORM madang_trim(p_name, 0, NULL, NULL, p_most);
    DELETE FROM madang_stream WHERE name = p_name AND first >= next;
    SELECT NOT EXISTS (SELECT 1 FROM madang_stream WHERE name = p_name) INTO gone;
    RETURN gone;
END $$;

CREATE OR REPLACE FUNCTION madang_offset_at(p_name text, p_at bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE s madang_stream; low bigint; high bigint; middle bigint; at bigint;
BEGIN
    SELECT * INTO s FROM madang_stream WHERE name = p_name;
    IF NOT FOUND THEN RETURN NULL; END IF;
    low := s.first; high := s.next;
    WHILE low < high LOOP
        middle := low + (high - low) / 2;
        SELECT at_ms INTO at FROM madang_entry WHERE id = (s.number << 36 | middle);
        IF at < p_at THEN low := middle + 1; ELSE high := middle; END IF;
    END LOOP;
    RETURN low;
END $$;

-- p_when: 0 always, 1 absent, 2 this version. p_kind: 0 put, 1 delete, 2 add.
CREATE OR REPLACE FUNCTION madang_kv_write(
    p_namespace text, p_key text, p_kind int, p_value bytea, p_when int, p_version bigint, p_more bigint, p_lasts bigint,
    OUT status int, OUT o_value bytea, OUT o_version bigint, OUT o_expires bigint) LANGUAGE plpgsql AS $$
DECLARE h madang_kv; here bool; now_ms bigint; sum numeric;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(p_key, hashtextextended(p_namespace, 0)));
    now_ms := madang_now_ms();
    SELECT * INTO h FROM madang_kv WHERE namespace = p_namespace AND key = p_key
        AND (expires_ms IS NULL OR expires_ms > now_ms);
    here := FOUND;
    IF (p_when = 1 AND here) OR (p_when = 2 AND (NOT here OR h.version <> p_version)) THEN
        status := CASE WHEN here THEN 1 ELSE 2 END;
        o_value := h.value; o_version := h.version; o_expires := h.expires_ms;
        RETURN;
    END IF;
    status := 0;
    IF p_kind = 1 THEN
        DELETE FROM madang_kv WHERE namespace = p_namespace AND key = p_key;
        o_version := 0;
        RETURN;
    END IF;
    o_value := p_value;
    o_expires := CASE WHEN p_lasts > 9223372036854775807 - now_ms THEN 9223372036854775807 ELSE now_ms + p_lasts END;
    IF p_kind = 2 THEN
        IF here THEN
            IF octet_length(h.value) > 20 OR encode(h.value, 'escape') !~ '^[+-]?[0-9]+$' THEN
                status := 3; RETURN;
            END IF;
            o_expires := h.expires_ms;
            sum := encode(h.value, 'escape')::numeric + p_more;
        ELSE
            sum := p_more;
        END IF;
        IF sum < -9223372036854775808 OR sum > 9223372036854775807 THEN status := 3; RETURN; END IF;
        o_value := convert_to(sum::text, 'UTF8');
    END IF;
    o_version := nextval('madang_kv_version');
    INSERT INTO madang_kv (namespace, key, value, version, expires_ms)
        VALUES (p_namespace, p_key, o_value, o_version, o_expires)
        ON CONFLICT (namespace, key) DO UPDATE SET value = o_value, version = o_version, expires_ms = o_expires;
END $$;
"#;

/// Makes the schema `madang` and what is in it, or brings it to this program's form.
pub(super) async fn make(client: &Client) -> Result<(), StoreError> {
    let encoding =
        client.query_one("SHOW server_encoding", &[]).await.map_err(|error| fault::meaning(&error))?;
    if encoding.get::<_, &str>(0) != "UTF8" {
        let why =
            format!("its encoding is {}, UTF8 is needed: createdb -E UTF8 NAME", encoding.get::<_, &str>(0));
        return Err(StoreError::Failed { why });
    }
    let made = client.batch_execute(&format!("BEGIN; {LOCK}; CREATE SCHEMA IF NOT EXISTS madang")).await;
    made.map_err(|error| fault::meaning(&error))?;
    let form = form(client).await?;
    if form > FORM {
        let why = "it was written by a newer version of Madang; use that one".to_owned();
        return Err(StoreError::Failed { why });
    }
    let sql = match form {
        FORM => "COMMIT".to_owned(),
        0 => format!("{} COMMIT", all()),
        // Since form 1 only functions have changed, and none of their arguments: older machines may go on calling them.
        _ => format!("{FUNCTIONS} UPDATE madang_meta SET value = {FORM} WHERE name = 'form'; COMMIT"),
    };
    client.batch_execute(&sql).await.map_err(|error| fault::meaning(&error))
}

/// Everything, to be made in an empty schema.
pub(crate) fn all() -> String {
    let terms = crate::terms::VERSION;
    format!("{TABLES} {FUNCTIONS} INSERT INTO madang_meta VALUES ('form', {FORM}), ('terms', {terms});")
}

/// 0: nothing is there yet.
async fn form(client: &Client) -> Result<i64, StoreError> {
    let there = client.query_one("SELECT to_regclass('madang.madang_meta') IS NOT NULL", &[]).await;
    if !there.map_err(|error| fault::meaning(&error))?.get::<_, bool>(0) {
        return Ok(0);
    }
    let form = client.query_opt("SELECT value FROM madang_meta WHERE name = 'form'", &[]).await;
    Ok(form.map_err(|error| fault::meaning(&error))?.map_or(0, |row| row.get(0)))
}
