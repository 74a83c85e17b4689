package cases

import (
	"crypto/x509"
	"fmt"
	"strings"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// plain has what a node has that is told nothing but its addresses.
var plain = &ground{name: "plain", config: func(*site) string { return "" }}

// tight has limits and times that are soon met.
var tight = &ground{name: "tight", config: func(*site) string {
	return `
shards: 2
connect-timeout: 2s
send-timeout: 1s
limits:
  receive-maximum: 10
  max-subscriptions: 100
  max-node-subscriptions: 1000
  max-sessions: 120
  max-user-sessions: 10
  queue-messages: 50
  retained-messages: 100
  retained-bytes: 4MB
`
}}

// fleeting ends sessions soon after their connections, whatever clients ask for.
var fleeting = &ground{name: "fleeting", config: func(*site) string { return "limits: {max-session-expiry: 1s}\n" }}

// password is the line of a user whose password is "secret", by a hash that costs little.
func password(user string) string {
	return user + ":$7$101$31FoGBn5cne5me5k$x7Nu6URWugbcQDRTFcStmHHNGgNJMxWYUWrUMBUaZn3FaxTWk5M8oUVS9b6OJjajHG2cFz9n4KOwnBVya/8cpQ==\n"
}

// users have all the same password. Some are called what could be a pattern.
var users = []string{"bystander", "probe", "ann", "bob", "eve", "+", "a/b", ".*", "$share", "${clientid}"}

func usersFile() string {
	var b strings.Builder
	for _, user := range users {
		b.WriteString(password(user))
	}
	// One has a verifier in place of a hash, for "pencil": the example of RFC 7677.
	b.WriteString("user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n")
	return b.String()
}

// someUser is who clients are if a case does not say it.
func someUser(name string) mqtt.Connect {
	return mqtt.Connect{HasUsername: true, Username: []byte(name), HasPassword: true, Password: []byte("secret")}
}

// rules are those of guarded; more come before them, and epoch is a number by which a
// client finds out that they are in force.
func rules(epoch int, more string) string {
	return fmt.Sprintf(`rules:
  - {allow: all, users: [bystander], topics: [bystander]}
  - {allow: subscribe, users: [probe], topics: ["epoch/%d"]}
%s
  - {deny: publish, topics: ["no/#"]}
  - {deny: subscribe, topics: ["home/safe/#"]}
  - {deny: all, topics: ["private/${username}"]}
  - {allow: subscribe, topics: ["home/#", "no/#"]}
  - {allow: publish, topics: ["#"], users: [eve]}
  - {allow: all, topics: ["open/#", "dev/${clientid}/x", "u/${username}/x", "private/+"]}
`, epoch, more)
}

// guarded lets in who has a password, and each do what the rules say.
var guarded = &ground{name: "guarded", hello: someUser("bystander"), config: func(s *site) string {
	return fmt.Sprintf("connect-timeout: 5s\nauth: {users-file: %s}\nacl: {file: %s}\naudit: {file: %s}\n",
		s.write(s.t, "users", usersFile()), s.write(s.t, "rules.yaml", rules(0, "")), s.dir+"/audit.log")
}}

// crowded bounds what comes from an address, but for that of the bystander.
var crowded = &ground{name: "crowded", config: func(*site) string {
	return `
loops: 1
connect-timeout: 1m
limits: {connections-per-address: 300, trusted-addresses: [127.0.0.1/32]}
`
}}

// paced bounds how often an address may come, but for that of the bystander.
var paced = &ground{name: "paced", hello: someUser("bystander"), config: func(s *site) string {
	return fmt.Sprintf("auth: {users-file: %s}\nacl: {file: %s}\nlimits: {connect-rate-per-address: 20, connect-burst: 2s, trusted-addresses: [127.0.0.1/32]}\n",
		s.write(s.t, "users", usersFile()), s.write(s.t, "rules.yaml", rules(0, "")))
}}

// proxied is behind proxies, whose network the bystander comes from.
var proxied = &ground{name: "proxied", config: func(*site) string {
	return `
connect-timeout: 2s
proxy-protocol: {mqtt: [127.88.0.0/16], mqtts: [127.88.0.0/16], ws: [127.88.0.0/16], wss: [127.88.0.0/16]}
limits: {connections-per-address: 3}
`
}, door: func(d *door) {
	d.from, d.first = "127.88.0.1", "PROXY TCP4 192.0.2.1 192.0.2.9 49152 1883\r\n"
}}

// certified takes certificates of clients for who they are.
var certified = &ground{name: "certified", config: func(s *site) string {
	s.ca.Issue("bystander", &x509.Certificate{DNSNames: []string{"bystander"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return "connect-timeout: 2s\nauth: {certificate: dns}\nacl: {file: " + s.write(s.t, "rules.yaml", rules(0, "")) + "}\n"
}, door: func(d *door) {
	d.own("bystander")
}}

// scarce has few file descriptors, a small disk of its own, and little memory, of which it
// uses the half. Beyond that nothing is stored, so its bystander has no session that lasts.
var scarce = &ground{name: "scarce", passing: true, logs: 64 << 20, config: func(*site) string {
	return "limits: {memory: 160MB, memory-high-water: 50}\nsnapshot-log-size: 8MB\n"
}, lay: func(s *site) harness.Options {
	return s.everyListener(harness.Place{Disk: scarceDisk, Within: []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, scarceFiles)}})
}}

// What scarce has: descriptors, and bytes of disk, of which a twentieth is to be free.
const (
	scarceFiles = 600
	scarceDisk  = 480 << 20
)

// rated holds clients to a rate that the bystander keeps well below.
var rated = &ground{name: "rated", config: func(*site) string { return "limits: {message-rate: 400, rate-action: disconnect}\n" }}

// fortress is two nodes that know one another by certificates and encrypt their gossip.
var fortress = &ground{name: "fortress", config: func(*site) string { return "" }, lay: func(s *site) harness.Options {
	return harness.Options{Nodes: 2, Place: func(k int) harness.Place {
		host := harness.Host(s.t)
		return harness.Place{Host: host, Args: s.ca.Args(fmt.Sprint("n", k+1), host)}
	}}
}}
