-- What a person asks first of the table that keeps versions.

-- The newest version of each instrument.
CREATE OR REPLACE VIEW instruments_current AS (SELECT * FROM instruments LATEST ON ts PARTITION BY instrument);

-- What must not be relied upon: for each kind of record the times in which some of it is missing, what was healed left out.
CREATE OR REPLACE VIEW dirty AS (
    SELECT feed, instrument, kind, from_ns, to_ns, cause, expected
    FROM (
        SELECT g.feed AS feed, g.instrument AS instrument, k.kind AS kind, g.from_ns AS from_ns, g.first_missing AS first_missing,
               g.cause AS cause, g.expected AS expected, coalesce(max(g.to_ns), 9223372036854775807L) AS to_ns,
               sum(CASE WHEN g.healed THEN 1 ELSE 0 END) AS healed
        FROM data_gaps AS g
        CROSS JOIN (
            SELECT 'quote' AS kind UNION ALL SELECT 'trade' UNION ALL SELECT 'book' UNION ALL SELECT 'bbo' UNION ALL SELECT 'index'
            UNION ALL SELECT 'mark' UNION ALL SELECT 'funding' UNION ALL SELECT 'depth'
        ) AS k
        WHERE g.cause != 'expired' AND (g.kind IS NULL OR g.kind = k.kind)
        GROUP BY g.feed, g.instrument, k.kind, g.from_ns, g.first_missing, g.cause, g.expected
    )
    WHERE healed = 0
);
