{{- define "driftline.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Name of the Secret with what connects to the database and the broker, and the secret key. */}}
{{- define "driftline.secret" -}}
{{ .Values.existingSecret | default (printf "%s-secrets" (include "driftline.name" .)) }}
{{- end }}

{{/* Labels by which the pods of one role are found; takes the root and the role. */}}
{{- define "driftline.selector" -}}
app.kubernetes.io/name: driftline
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "driftline.labels" -}}
{{ include "driftline.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{/* Labels of the pods of one role. Those with `home: shared` use the home of all. */}}
{{- define "driftline.podLabels" -}}
{{ include "driftline.labels" . }}
driftline/home: {{ eq (index . 1) "inference" | ternary "own" "shared" }}
{{- end }}

{{/* What the specification of every pod has; takes the root and the role. */}}
{{- define "driftline.pod" -}}
{{- $root := index . 0 -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  # Once alone: it would open the files of the home to the group.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq (index . 1) "inference" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "driftline.selector" . | nindent 8 }}
{{- else if eq $root.Values.home.accessMode "ReadWriteOnce" }}
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            app.kubernetes.io/instance: {{ $root.Release.Name }}
            driftline/home: shared
{{- end }}
{{- end }}

{{/* What every container has; takes the root and the role. */}}
{{- define "driftline.container" -}}
{{- $root := index . 0 -}}
{{- $image := $root.Values.image -}}
image: {{ printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) }}{{ with $image.digest }}@{{ . }}{{ end }}
imagePullPolicy: {{ $image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: home, mountPath: /var/lib/driftline}
  - {name: tmp, mountPath: /tmp}
  {{- if $root.Values.filesSecret }}
  - {name: files, mountPath: /etc/driftline, readOnly: true}
  {{- end }}
  {{- if eq (index . 1) "inference" }}
  - {name: tokens, mountPath: /run/tokens, readOnly: true}
  {{- end }}
env:
  - name: POD_IP
    valueFrom: {fieldRef: {fieldPath: status.podIP}}
  # A folder in the volume, which Driftline makes: the volume itself belongs to root.
  - {name: DRIFTLINE_HOME, value: /var/lib/driftline/home}
  - {name: DRIFTLINE_PUBLIC_URL, value: {{ printf "https://%s" $root.Values.host | quote }}}
  # Prometheus asks pods by their addresses.
  - {name: DRIFTLINE_ALLOWED_HOSTS, value: "{{ $root.Values.host }},{{ include "driftline.name" $root }}-web,$(POD_IP)"}
  - {name: DRIFTLINE_BEHIND_TLS, value: "1"}
  {{- with $root.Values.trustedProxies }}
  - {name: DRIFTLINE_TRUSTED_PROXIES, value: {{ join "," . | quote }}}
  {{- end }}
  {{- range $name, $value := $root.Values.settings }}
  - {name: {{ $name }}, value: {{ $value | toString | quote }}}
  {{- end }}
  {{- $secrets := list "DRIFTLINE_DATABASE_URL" "DRIFTLINE_BROKER_URL" }}
  {{- if ne (index . 1) "inference" }}
  {{- $secrets = append $secrets "DRIFTLINE_SECRET_KEY" }}
  {{- end }}
  {{- range $secrets }}
  - name: {{ . }}
    valueFrom: {secretKeyRef: {name: {{ include "driftline.secret" $root }}, key: {{ . }}}}
  {{- end }}
  {{- with $root.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "driftline.commonVolumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.temporarySize }}}
{{- with .Values.filesSecret }}
- name: files
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* The volumes of a role that uses the home of all. */}}
{{- define "driftline.volumes" -}}
{{ include "driftline.commonVolumes" . }}
- name: home
  persistentVolumeClaim:
    claimName: {{ .Values.home.existingClaim | default (printf "%s-home" (include "driftline.name" .)) }}
{{- end }}
