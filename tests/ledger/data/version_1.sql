-- A ledger as version 1 wrote it, with rows.
PRAGMA application_id = 1919711588;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE rows (
            session_id TEXT NOT NULL,
            entry TEXT NOT NULL,
            source TEXT NOT NULL,
            ended_at REAL NOT NULL,
            dialect TEXT NOT NULL,
            transport TEXT NOT NULL,
            "key" TEXT NOT NULL,
            tenant TEXT NOT NULL,
            account TEXT NOT NULL,
            model TEXT,
            upstream_id TEXT,
            reason TEXT NOT NULL,
            tokens_in INTEGER NOT NULL,
            tokens_out INTEGER NOT NULL,
            tokens_in_text INTEGER NOT NULL,
            tokens_in_audio INTEGER NOT NULL,
            tokens_in_image INTEGER NOT NULL,
            tokens_in_cached_text INTEGER NOT NULL,
            tokens_in_cached_audio INTEGER NOT NULL,
            tokens_in_cached_image INTEGER NOT NULL,
            tokens_out_text INTEGER NOT NULL,
            tokens_out_audio INTEGER NOT NULL,
            seconds REAL,
            cost_nano INTEGER,
            estimated INTEGER NOT NULL,
            ttft_ms REAL,
            duration_ms REAL,
            PRIMARY KEY (session_id, entry)
        );
INSERT INTO "rows" VALUES('01JD9W7Q','response:resp_1','response',1790812800.25,'realtime','websocket','dev','acme','openai-main','gpt-realtime','resp_1','completed',120,45,20,100,0,10,64,0,5,40,NULL,5824000,0,231.5,1840.0);
INSERT INTO "rows" VALUES('01JD9W7Q','turn:2','response',1790812812.5,'realtime','websocket','dev','acme','openai-main','gpt-realtime',NULL,'client_gone',120,45,20,100,0,10,64,0,5,40,NULL,NULL,1,NULL,310.75);
INSERT INTO "rows" VALUES('01JD9W7Q','transcription:item_1:0','transcription',1790812799.0,'realtime','websocket','dev','acme','openai-main','whisper-1','item_1:0','completed',0,0,0,0,0,0,0,0,0,0,3.5,350000,0,NULL,NULL);
INSERT INTO "rows" VALUES('01JD9X02','response:räsp_''2','response',1790899200.0,'realtime','websocket','schlüssel','other','openai-main','gpt-realtime','räsp_''2','completed',120,45,20,100,0,10,64,0,5,40,NULL,5824000,0,231.5,1840.0);
CREATE INDEX rows_by_key ON rows ("key", ended_at, cost_nano);
CREATE INDEX rows_by_time ON rows (ended_at);
COMMIT;
