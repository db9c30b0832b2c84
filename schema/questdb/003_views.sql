-- What a person asks first of the table that keeps versions.

-- The newest version of each instrument.
CREATE OR REPLACE VIEW instruments_current AS (SELECT * FROM instruments LATEST ON ts PARTITION BY instrument);
