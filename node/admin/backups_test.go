package admin

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Who puts records is written down with whom and what they are about, and nothing that is in them.
func TestPutRecordsAreWrittenDown(t *testing.T) {
	f := newFixture()
	_, written := withTokens(t, f)
	dir := t.TempDir()
	serve(t, f, dir)
	const two = `{"records": [{"kind": "token", "name": "mine", "value": "hush"}, {"kind": "user", "name": "a\nb", "value": "hush"}]}`
	many := strings.Repeat(`{"kind": "user", "name": "`+strings.Repeat("x", 1000)+`", "value": "hush"},`, 100)
	for _, body := range []string{two, `{"records": []}`, `{"records": [` + strings.TrimSuffix(many, ",") + `]}`} {
		if code, _, _ := request(t, overSocket(dir), "PUT", "http://node/api/v1/backup/records", strings.NewReader(body)); code != 204 {
			t.Errorf("%.40s: %d", body, code)
		}
	}
	f.Audit.Close()
	log := written.String()
	for _, want := range []string{`"target":"\"2 records: token mine, user a\\nb\""`, `"target":"0 records"`, `"target":"100 records: user xxx`} {
		if !strings.Contains(log, want) {
			t.Errorf("the audit log has no %s:\n%s", want, log)
		}
	}
	if strings.Contains(log, "hush") || len(log) > 2000 {
		t.Errorf("%d bytes in the audit log:\n%.2000s", len(log), log)
	}
}

func request(t *testing.T, client *http.Client, method, url string, body io.Reader) (int, string, error) {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// A backup that breaks off is not taken for whole; a restore takes bodies of any
// length, and tells what is refused from what is not known and what may be tried
// again.
func TestBackups(t *testing.T) {
	f := newFixture()
	dir := t.TempDir()
	serve(t, f, dir)
	client := overSocket(dir)
	const at = "http://node/api/v1/backup"
	if code, body, err := request(t, client, "GET", at+"/shards/0", nil); code != 200 || body != "some" || err != nil {
		t.Errorf("%d %q %v", code, body, err)
	}
	if code, body, err := request(t, client, "GET", at+"/shards/1", nil); err == nil {
		t.Errorf("a part is taken for the whole: %d %q", code, body)
	}
	large := bytes.Repeat([]byte("x"), 10*maxBodyBytes)
	if code, _, _ := request(t, client, "PUT", at+"/shards/0", bytes.NewReader(large)); code != 204 || !bytes.Equal(f.backups.took, large) {
		t.Errorf("%d, %d bytes", code, len(f.backups.took))
	}
	if code, _, _ := request(t, client, "PUT", at+"/settings", strings.NewReader(`{"settings": {"a": "b"}}`)); code != 204 || f.backups.set["a"] != "b" {
		t.Errorf("%d %v", code, f.backups.set)
	}
	if code, _, _ := request(t, client, "PUT", at+"/settings", bytes.NewReader(bytes.Repeat([]byte(" "), 2*maxSettingsBytes))); code != 400 {
		t.Errorf("%d", code)
	}
	if code, body, _ := request(t, client, "GET", at+"/records", nil); code != 200 || !strings.Contains(body, `"next": "user ann"`) || !strings.Contains(body, `"kind": "user"`) {
		t.Errorf("%d %s", code, body)
	}
	if code, body, _ := request(t, client, "GET", at+"/records?after=user+ann", nil); code != 200 || !strings.Contains(body, `"records": []`) {
		t.Errorf("%d %s", code, body)
	}
	one := Record{Kind: "user", Name: "ann", Value: strings.Repeat("x", maxBodyBytes)}
	if code, _, _ := request(t, client, "PUT", at+"/records", strings.NewReader(`{"records": [{"kind": "user", "name": "ann", "value": "`+one.Value+`"}]}`)); code != 204 || len(f.backups.put) != 1 || f.backups.put[0] != one {
		t.Errorf("%d, %d records", code, len(f.backups.put))
	}
	if code, body, _ := request(t, client, "PUT", at+"/records", strings.NewReader(`{"records": secret}`)); code != 400 || strings.Contains(body, "secret") {
		t.Errorf("%d %s", code, body)
	}
	if code, body, _ := request(t, client, "GET", at, nil); code != 200 || !strings.Contains(body, `"used": []`) || !strings.Contains(body, `"version": "v1"`) {
		t.Errorf("%d %s", code, body)
	}
	for want, err := range map[int]error{
		409: fmt.Errorf("%w: holds something", ErrRefused), 500: fmt.Errorf("%w: lost", ErrUnknown), 503: io.ErrNoProgress,
	} {
		f.backups.err = err
		for _, ask := range [][2]string{{"GET", "/shards/0"}, {"PUT", "/shards/0"}, {"PUT", "/settings"}, {"GET", "/records"}, {"PUT", "/records"}, {"POST", "/shards/0/begin"}} {
			if code, body, _ := request(t, client, ask[0], at+ask[1], strings.NewReader("{}")); code != want || !strings.Contains(body, err.Error()) {
				t.Errorf("%v: %d %s instead of %d", ask, code, body, want)
			}
		}
	}
	if code, _, _ := request(t, client, "GET", at+"/shards/x", nil); code != 400 {
		t.Error(code)
	}
	// Other routes take short bodies only, and nothing of this is for strangers.
	for _, path := range []string{"/api/v1/backup", "/api/v1/backup/records", "/api/v1/backup/shards/0"} {
		if code, _ := f.ask(healthOnly, "GET", path); code != 403 {
			t.Errorf("%s: %d", path, code)
		}
	}
}
