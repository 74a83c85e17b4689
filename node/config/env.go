package config

import (
	"regexp"
	"strings"
)

const (
	envPrefix = "DUNLIN_"
	envFile   = envPrefix + "CONFIG"
	// EnvToken is what commands that ask a node bear; it is no setting of a node.
	EnvToken = envPrefix + "TOKEN"
)

// serviceLink matches the variables that Kubernetes sets in every pod for a
// Service whose name begins with "dunlin": they are nobody's configuration.
var serviceLink = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)

// readEnv returns the settings that the environment gives, and the file that
// DUNLIN_CONFIG names.
func readEnv(env []string, set []Setting) (leaves []leaf, file string, err error) {
	byName := make(map[string]Setting, len(set))
	names := []string{envFile}
	for _, s := range set {
		byName[s.Env()] = s
		names = append(names, s.Env())
	}
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if name == EnvToken {
			continue
		}
		if name == envFile {
			file = value
			continue
		}
		s, ok := byName[name]
		if !ok {
			if serviceLink.MatchString(name[len(envPrefix)-1:]) {
				continue
			}
			return nil, "", &Error{Where: "environment", Key: name, NoValue: true, Want: unknown(name, names)}
		}
		leaves = append(leaves, leaf{setting: s, value: value, where: "environment", key: name, origin: name})
	}
	return leaves, file, nil
}
