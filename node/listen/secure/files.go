package secure

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Files are what a server's configuration is made of, in PEM.
type Files struct {
	Certs, Keys []string // pairs; which of them a client is shown, SNI decides, else it is the first
	ClientCA    string   // whose certificates of clients are good; "": nobody's
	ClientAuth  tls.ClientAuthType
	MinVersion  uint16
}

// FileError is the error of one of Files.
type FileError struct {
	Setting string // "cert", "key" or "client-ca"
	Path    string
	Err     error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("tls.%s: %q: %v", e.Setting, e.Path, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// credentials are Files as they were read at one time.
type credentials struct {
	mqtt, http *tls.Config
	expiry     time.Time // of the certificate that expires first
}

// Check reads the files and says what is wrong with them: an error of type
// *FileError.
func (f Files) Check() error {
	_, err := f.load()
	return err
}

// load reads and parses the files.
func (f Files) load() (*credentials, error) {
	contents, err := f.read()
	if err != nil {
		return nil, err
	}
	c := &credentials{mqtt: &tls.Config{MinVersion: f.MinVersion, ClientAuth: f.ClientAuth, NextProtos: []string{MQTT}}}
	n := len(f.Certs)
	for k := range f.Certs {
		cert, err := pair(contents[k], contents[n+k])
		if err != nil {
			return nil, &FileError{"cert", f.Certs[k], fmt.Errorf("with key %q: %w", f.Keys[k], err)}
		}
		c.mqtt.Certificates = append(c.mqtt.Certificates, cert)
		if after := cert.Leaf.NotAfter; c.expiry.IsZero() || after.Before(c.expiry) {
			c.expiry = after
		}
	}
	if f.ClientCA != "" {
		c.mqtt.ClientCAs = x509.NewCertPool()
		if !c.mqtt.ClientCAs.AppendCertsFromPEM(contents[2*n]) {
			return nil, &FileError{"client-ca", f.ClientCA, errors.New("no certificate in it")}
		}
	}
	c.http = c.mqtt.Clone()
	c.http.NextProtos = []string{HTTP}
	return c, nil
}

// paths are Certs, Keys and ClientCA, in this order.
func (f Files) paths() []string {
	all := slices.Concat(f.Certs, f.Keys)
	if f.ClientCA != "" {
		all = append(all, f.ClientCA)
	}
	return all
}

// read returns what is in paths.
func (f Files) read() (contents [][]byte, err error) {
	for k, path := range f.paths() {
		b, err := os.ReadFile(path)
		if err != nil {
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return nil, &FileError{f.settingOf(k), path, err}
		}
		contents = append(contents, b)
	}
	return contents, nil
}

// settingOf names the setting that the k-th of paths is of.
func (f Files) settingOf(k int) string {
	switch n := len(f.Certs); {
	case k < n:
		return "cert"
	case k < n+len(f.Keys):
		return "key"
	}
	return "client-ca"
}

// pair parses a certificate with its key.
func pair(cert, key []byte) (tls.Certificate, error) {
	if b, _ := pem.Decode(cert); b == nil {
		return tls.Certificate{}, errors.New("no PEM in the certificate's file")
	}
	if b, _ := pem.Decode(key); b == nil {
		return tls.Certificate{}, errors.New("no PEM in the key's file")
	}
	return tls.X509KeyPair(cert, key)
}
