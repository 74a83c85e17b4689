// Package report shows a load test to who runs it: Live while it goes on, and what
// came of it as a table, as JSON and as a page.
//
// A Document is a load.Result with what one has to know to read it later: the
// command, the machine and its limits, the version. It is what JSON holds, from
// which tables and pages can be made again; its keys are stable within a Schema. The
// page is one HTML file that needs nothing else: no script is needed to read it, and what
// brokers and clients have sent is text in it and nothing more.
package report
